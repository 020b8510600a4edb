// The workflow that a PNG carries in its text chunks (`prompt`), read here: the picture is not uploaded.

const latin = new TextDecoder("latin1");
const utf8 = new TextDecoder();

export function isPng(bytes) {
  return [137, 80, 78, 71, 13, 10, 26, 10].every((value, i) => bytes[i] === value);
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The text of a chunk: tEXt, zTXt or iTXt (PNG 1.2, section 4.2.3).
async function textOf(kind, data) {
  const end = data.indexOf(0);
  if (end < 0) return null;
  const key = latin.decode(data.subarray(0, end));
  if (kind === "tEXt") return [key, latin.decode(data.subarray(end + 1))];
  if (kind === "zTXt") return [key, latin.decode(await inflated(data.subarray(end + 2)))];
  const packed = data[end + 1] === 1;
  const language = data.indexOf(0, end + 3);
  const translated = data.indexOf(0, language + 1);
  const rest = data.subarray(translated + 1);
  return [key, utf8.decode(packed ? await inflated(rest) : rest)];
}

export async function texts(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = {};
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = latin.decode(bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length || kind === "IEND") break;
    if (["tEXt", "zTXt", "iTXt"].includes(kind)) {
      const pair = await textOf(kind, bytes.subarray(at + 8, at + 8 + length));
      if (pair) found[pair[0]] ??= pair[1];
    }
    at += 12 + length;
  }
  return found;
}
