// Postbacks of partners that write them in their own way, under /p/<partner>.
// What a dialect is, internal/postback/dialect.go says; what comes here has been
// checked by it.

import { bytesOf, cutSignature, fromBase64, fromHex, rawValue, value } from "./query.js";
import { Keyring, MAC, isFresh, isSigned } from "./signature.js";

const TOKEN_BYTES = 16; // of the secret, that a token shows
const SHA1_BYTES = 20;
const MD5_BYTES = 16;
const MACRO = /\{([A-Za-z0-9_-]+)\}/;
const WHOLE_MACRO = /^\{([A-Za-z0-9_-]+)\}$/;
const TOKEN = "{token}";

// Dialects finds the partner that a path belongs to.
export class Dialects {
  #settings;
  #given = new Map(); // partner → dialect
  #shapes = new Map(); // partner → Shape, made when it is first needed

  constructor(settings) {
    this.#settings = settings;
    for (const dialect of settings.dialects ?? []) {
      this.#given.set(dialect.partner, dialect);
    }
  }

  // isVerified tells whether a postback is its partner's own, and fresh. It is
  // false for partners without authentication: theirs need none.
  async isVerified(path, query) {
    const partner = path.split("/", 3)[2];
    let shape = this.#shapes.get(partner);
    if (shape === undefined) {
      const dialect = this.#given.get(partner);
      if (dialect === undefined) {
        return false;
      }
      shape = new Shape(dialect, this.#settings);
      this.#shapes.set(partner, shape);
    }
    return shape.isPath(path) && shape.isVerified(path, query);
  }
}

// Shape is a dialect, compiled.
class Shape {
  #settings;
  #dialect;
  #pathStart;
  #pathEnd; // undefined without a token in the path
  #names = new Map(); // macro → the partner's parameter
  #secret;
  #mac; // of hmac-sha1
  #keyring; // of hmac-sha256: one key

  constructor(dialect, settings) {
    this.#dialect = dialect;
    this.#settings = settings;
    this.#secret = fromBase64(dialect.secret);
    const [path, query] = cut(dialect.target, "?");
    [this.#pathStart, this.#pathEnd] = `/p/${dialect.partner}${path}`.split(TOKEN);
    for (const pair of query.split("&")) {
      const [name, text] = cut(pair, "=");
      const macro = WHOLE_MACRO.exec(text);
      if (macro !== null) {
        this.#names.set(macro[1], name);
      }
    }
    if (dialect.auth === "hmac-sha1") {
      this.#mac = new MAC("SHA-1", this.#secret);
    }
    if (dialect.auth === "hmac-sha256") {
      this.#keyring = Keyring.of([{ kid: dialect.partner, secret: dialect.secret }]);
    }
  }

  // isPath tells whether a path is this partner's, whatever token it holds.
  isPath(path) {
    if (this.#pathEnd === undefined) {
      return path === this.#pathStart;
    }
    const bytes = this.#pathStart.length + this.#pathEnd.length;
    return (
      path.length >= bytes &&
      path.startsWith(this.#pathStart) &&
      path.endsWith(this.#pathEnd) &&
      !this.#tokenOf(path).includes("/")
    );
  }

  #tokenOf(path) {
    return path.slice(this.#pathStart.length, path.length - this.#pathEnd.length);
  }

  async isVerified(path, query) {
    switch (this.#dialect.auth) {
      case "token":
        return this.#hasToken(path, query);
      case "hmac-sha256":
        return (
          isFresh(this.#settings, query, this.#names.get("ts")) &&
          isSigned(this.#keyring, path, query, this.#names.get("kid"))
        );
      case "hmac-sha1":
        return this.#hasSHA1(path, query);
      case "md5":
        return this.#hasMD5(query);
    }
    return false;
  }

  #hasToken(path, query) {
    const text = this.#pathEnd === undefined ? rawValue(query, this.#names.get("token")) : this.#tokenOf(path);
    const claimed = fromHex(text, TOKEN_BYTES);
    return claimed !== null && crypto.subtle.timingSafeEqual(this.#secret.subarray(0, TOKEN_BYTES), claimed);
  }

  async #hasSHA1(path, query) {
    const cut = cutSignature(query, this.#dialect.auth_param, SHA1_BYTES);
    return cut !== null && this.#mac.verify(cut.signature, `${path}?${cut.signed}`);
  }

  async #hasMD5(query) {
    const claimed = fromHex(rawValue(query, this.#dialect.auth_param), MD5_BYTES);
    if (claimed === null) {
      return false;
    }
    const sum = await crypto.subtle.digest("MD5", bytesOf(this.#digested(query) + hex(this.#secret)));
    return crypto.subtle.timingSafeEqual(sum, claimed);
  }

  // #digested is the digest with its macros replaced by the values as they were
  // sent. Every second piece is a macro's name.
  #digested(query) {
    return this.#dialect.digest
      .split(MACRO)
      .map((piece, i) => (i % 2 === 0 ? utf8(piece) : value(query, this.#names.get(piece)) ?? ""))
      .join("");
  }
}

// cut parts a text at the first separator.
function cut(text, separator) {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}

function hex(bytes) {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

// utf8 is a text's bytes, one character for each.
function utf8(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
