@0x9b3f0d6f6c1ae2d7;
# The access log that a server has mapped into its memory: FORMAT.md says how the
# messages lie in their file. Read it with
#
#   capnp decode access.capnp AccessEntry < access.log.capnp

struct AccessEntry {
  # One request whose answer is known.

  unixNs @0 :Int64;
  # Entry into the handler, nanoseconds since 1970 by the server's clock.

  durationNs @1 :Int64;
  # From there until the answer was known, in nanoseconds.

  status @2 :Int32;
  # The HTTP status of the answer.

  uriBytes @3 :UInt32;
  # The length of a URI that was cut; 0 otherwise.

  method @4 :Data;
  # As it was sent, cut to 16 bytes. Bytes, not text: any byte may come.

  uri @5 :Data;
  # Path and query as they were sent, cut to 4,096 bytes; then "redacted" stands
  # for each value of a parameter named sig.
}
