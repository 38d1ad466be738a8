// Reading of raw queries. All strings here are bytes: one character below 256
// for each.

// bytesOf turns such a string into its bytes.
export function bytesOf(text) {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    bytes[i] = text.charCodeAt(i);
  }
  return bytes;
}

// unescape decodes %XX and "+"; null if there is a bad escape.
export function unescape(text) {
  if (!/[%+]/.test(text)) {
    return text;
  }
  if (/%(?![0-9a-fA-F]{2})/.test(text)) {
    return null;
  }
  return text
    .replaceAll("+", " ")
    .replace(/%(..)/g, (_, digits) => String.fromCharCode(parseInt(digits, 16)));
}

// rawValue is the value of the first parameter of that decoded name, as it was
// sent; null without one. A second one is for the edge to refuse.
export function rawValue(query, name) {
  for (const pair of query.split("&")) {
    const end = pair.indexOf("=");
    if (unescape(end < 0 ? pair : pair.slice(0, end)) === name) {
      return end < 0 ? "" : pair.slice(end + 1);
    }
  }
  return null;
}

// value is the same, decoded.
export function value(query, name) {
  const raw = rawValue(query, name);
  return raw === null ? null : unescape(raw);
}

// fromHex are the bytes of n pairs of lower-case hexadecimal digits; null if
// text is anything else.
export function fromHex(text, n) {
  if (text === null || text.length !== 2 * n || !/^[0-9a-f]*$/.test(text)) {
    return null;
  }
  const bytes = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
  }
  return bytes;
}

// fromBase64 are the bytes of a Go []byte in JSON.
export function fromBase64(text) {
  return bytesOf(atob(text ?? ""));
}

// cutSignature parts a query from the "&name=digits" at its end, of n bytes;
// null if that is not what ends it.
export function cutSignature(query, name, n) {
  const start = query.length - 2 * n - name.length - 2;
  if (start < 0 || !query.startsWith(`&${name}=`, start)) {
    return null;
  }
  const signature = fromHex(query.slice(-2 * n), n);
  return signature && { signed: query.slice(0, start), signature };
}
