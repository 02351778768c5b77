// What a case gets: its binding, keys of its own, and assertions whose errors show the values.

let started = 0;

export class Case {
  /** @param {object} env  the Worker's bindings. @param {string} binding  the one to use. */
  constructor(env, binding) {
    /** The binding: a KV namespace or a rate limit. */
    this.kv = this.limiter = env[binding];
    if (this.kv === undefined) throw new Error(`there is no binding ${binding}`);
    /** All bindings, for cases that need several. */
    this.env = env;
    /** The runtime's version, for differences between versions. */
    this.version = env.RUNTIME_VERSION;
    /** The prefix of all keys of this case, which separates it from others in the namespace. */
    this.prefix = `case-${started++}/`;
  }

  /** A key of this case. */
  key(name) {
    return this.prefix + name;
  }

  /** The names in the list under this case's prefix, without the prefix. */
  async names(options = {}) {
    const page = await this.kv.list({ ...options, prefix: this.prefix + (options.prefix ?? "") });
    return page.keys.map((key) => key.name.slice(this.prefix.length));
  }

  /** The list entry of a key of this case. */
  async listed(key) {
    const page = await this.kv.list({ prefix: key });
    const found = page.keys.find((entry) => entry.name === key);
    if (found === undefined) throw new Error(`${show(key)} is not in the list`);
    return found;
  }
}

/** The text of a value for an error message, shortened if it is long. */
export function show(value) {
  const text = typeof value === "string" ? JSON.stringify(value) : JSON.stringify(plain(value));
  return text === undefined ? String(value) : text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

function plain(value) {
  if (value instanceof ArrayBuffer) return { bytes: [...new Uint8Array(value)] };
  if (ArrayBuffer.isView(value)) return { bytes: [...new Uint8Array(value.buffer)] };
  if (value instanceof Map) return { map: [...value].map(([k, v]) => [k, plain(v)]) };
  return value;
}

/** Fails unless both are deeply equal. The order of maps matters, that of object properties does not. */
export function equal(actual, expected, what = "value") {
  if (!same(actual, expected)) {
    throw new Error(`${what}: expected ${show(expected)}, got ${show(actual)}`);
  }
}

function same(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) {
    return sameBytes(new Uint8Array(a), new Uint8Array(b));
  }
  if (a instanceof Uint8Array && b instanceof Uint8Array) return sameBytes(a, b);
  if (a instanceof Map && b instanceof Map) return same([...a], [...b]);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && same(a[name], b[name]))
  );
}

function sameBytes(a, b) {
  if (a.byteLength !== b.byteLength) return false;
  for (let i = 0; i < a.byteLength; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Fails unless the condition holds. */
export function ok(condition, what) {
  if (!condition) throw new Error(what);
}

/** Fails unless the call throws an error of this type with exactly this message. */
export async function fails(call, message, kind = Error) {
  let result;
  try {
    result = await call();
  } catch (error) {
    if (message instanceof RegExp ? !message.test(error.message) : error.message !== message) {
      throw new Error(`expected the error ${show(String(message))}, got ${show(String(error))}`);
    }
    ok(error.constructor === kind || error.name === kind.name, `the error is a ${error.name}`);
    return;
  }
  throw new Error(`expected the error ${show(String(message))}, got the result ${show(result)}`);
}

/** Pseudorandom bytes that are the same in every run. */
export function noise(length, seed = 1) {
  const bytes = new Uint8Array(length);
  const words = new Uint32Array(bytes.buffer, 0, length >> 2);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  for (let i = length & ~3; i < length; i++) bytes[i] = seed + i;
  return bytes;
}

/** A stream of unknown length with these bytes, in pieces. */
export function stream(bytes, piece = 64 * 1024) {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.byteLength) return controller.close();
      controller.enqueue(bytes.slice(at, at + piece));
      at += piece;
    },
  });
}

/** A stream of known length. */
export function sizedStream(bytes) {
  const { readable, writable } = new FixedLengthStream(bytes.byteLength);
  const writer = writable.getWriter();
  writer.write(bytes).then(
    () => writer.close(),
    () => {},
  );
  return readable;
}

/** All bytes of a stream. */
export async function collect(readable) {
  return new Uint8Array(await new Response(readable).arrayBuffer());
}

/** Runs the calls at most `width` at a time. */
export async function parallel(width, items, call) {
  const left = [...items].entries();
  const worker = async () => {
    for (const [i, item] of left) await call(item, i);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

/** Waits for some milliseconds. */
export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export const encode = (text) => new TextEncoder().encode(text);
export const decode = (bytes) => new TextDecoder().decode(bytes);
export const now = () => Math.floor(Date.now() / 1000);
