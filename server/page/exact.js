// JSON without loss: integers beyond 2^53 (seeds) are BigInts and are written as they were read.

const MARK = "\u0000integer:";

export function parse(text) {
  const marked = text.replace(
    /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g,
    (token) => (/^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"\\u0000integer:${token}"` : token),
  );
  return JSON.parse(marked, (_, value) =>
    typeof value === "string" && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value,
  );
}

export function stringify(value, indent) {
  const marked = JSON.stringify(value, (_, v) => (typeof v === "bigint" ? MARK + v : v), indent);
  return marked.replace(/"\\u0000integer:(-?\d+)"/g, "$1");
}
