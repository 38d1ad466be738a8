// A Worker in front of the edge process: it verifies the signatures of
// postbacks with WebCrypto and hands every request over to the edge, whose
// answer is the answer. The edge alone reads, refuses, buffers, counts and logs.
//
// What is verified goes over the binding VERIFIED, whose token the edge knows,
// everything else over EDGE, behind which the edge verifies for itself. So
// nothing that this script doubts, or does not understand, is let in or lost.

import { Dialects } from "./dialect.js";
import { Keyring, isFresh, isSigned } from "./signature.js";

const PLAIN = "/pb";
const SIGNED = "/pb/signed";
const DIALECTS = "/p/";

const LINE = { "Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff" };

// All requests share one isolate, and with it these.
let keyring, dialects;
const counts = { verified: 0, unverified: 0, other: 0, failed: 0 };

export default {
  async fetch(request, env) {
    try {
      return await handOver(request, env);
    } catch {
      counts.failed++;
      return new Response("the edge does not answer", { status: 502, headers: LINE });
    }
  },
};

// handOver gives the edge's answer.
async function handOver(request, env) {
  const [path, query] = targetOf(request.url);
  const isAuthenticated = path === SIGNED || path.startsWith(DIALECTS);
  if (request.method !== "GET" || (!isAuthenticated && path !== PLAIN)) {
    counts.other++;
    return env.EDGE.fetch(request);
  }
  if (request.headers.has("Transfer-Encoding")) {
    // On its way to the edge a GET would lose this body, and pass for one without.
    counts.other++;
    return new Response(env.SETTINGS.no_body, { status: 400, headers: LINE });
  }
  if (isAuthenticated && (await isVerified(env.SETTINGS, path, query).catch(() => false))) {
    counts.verified++;
    return env.VERIFIED.fetch(request);
  }
  counts[isAuthenticated ? "unverified" : "other"]++;
  return env.EDGE.fetch(request);
}

// control is for our supervisor, on a socket of its own.
export const control = {
  async fetch(request) {
    switch (`${request.method} ${targetOf(request.url)[0]}`) {
      case "GET /counts":
        return Response.json(counts);
      case "PUT /keys":
        keyring = Keyring.of(await request.json());
        return new Response(null, { status: 204 });
    }
    return new Response("not found", { status: 404 });
  },
};

// targetOf cuts a URL into path and query, as they were on the request line.
function targetOf(url) {
  const target = url.slice(url.indexOf("/", url.indexOf("://") + 3));
  const end = target.indexOf("?");
  return end < 0 ? [target, ""] : [target.slice(0, end), target.slice(end + 1)];
}

// isVerified tells whether a postback is its partner's own, and fresh.
async function isVerified(settings, path, query) {
  if (!/^[!-~]*$/.test(path + query)) {
    return false; // the edge knows what to make of other bytes
  }
  if (path !== SIGNED) {
    dialects ??= new Dialects(settings);
    return dialects.isVerified(path, query);
  }
  keyring ??= Keyring.of(settings.keys);
  return isFresh(settings, query, "ts") && isSigned(keyring, path, query, "kid");
}
