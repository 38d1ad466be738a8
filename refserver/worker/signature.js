// Signatures by HMAC, as internal/postback/FORMAT.md has them.

import { cutSignature, fromBase64, value } from "./query.js";

const SHA256_BYTES = 32;

const encoder = new TextEncoder();

// MAC is one secret, imported when it is first needed: most partners are silent
// most of the time.
export class MAC {
  #hash;
  #secret;
  #key;

  // hash is WebCrypto's name, secret the bytes.
  constructor(hash, secret) {
    this.#hash = hash;
    this.#secret = secret;
  }

  // verify compares in constant time. text is ASCII.
  async verify(signature, text) {
    this.#key ??= await crypto.subtle.importKey("raw", this.#secret, { name: "HMAC", hash: this.#hash }, false, ["verify"]);
    return crypto.subtle.verify("HMAC", this.#key, signature, encoder.encode(text));
  }
}

// Keyring holds keys by their ids.
export class Keyring {
  #macs = new Map();
  // Stands in for unknown ids, which must cost the same.
  #nobody = new MAC("SHA-256", new Uint8Array(SHA256_BYTES));

  // of makes a keyring of [{kid, secret in base64}], or of null.
  static of(list) {
    const keyring = new Keyring();
    for (const { kid, secret } of list ?? []) {
      keyring.#macs.set(kid, new MAC("SHA-256", fromBase64(secret)));
    }
    return keyring;
  }

  // verify verifies with the key of that id.
  async verify(kid, signature, text) {
    const mac = this.#macs.get(kid);
    return (await (mac ?? this.#nobody).verify(signature, text)) && mac !== undefined;
  }
}

// isSigned verifies a GET whose query ends with "&sig=" and a pb1 signature;
// kidName is the parameter that names the key.
export async function isSigned(keyring, path, query, kidName) {
  const cut = cutSignature(query, "sig", SHA256_BYTES);
  return cut !== null && keyring.verify(value(query, kidName), cut.signature, `pb1\nGET\n${path}\n${cut.signed}`);
}

// isFresh tells whether the sender's clock, in the parameter tsName, is near ours.
export function isFresh(settings, query, tsName) {
  const text = value(query, tsName);
  if (text === null || !/^[1-9][0-9]{0,14}$/.test(text)) {
    return false;
  }
  const ageS = Math.floor(Date.now() / 1000 + settings.clock_offset_s) - Number(text);
  return ageS <= settings.max_past_s && ageS >= -settings.max_future_s;
}
