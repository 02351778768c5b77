// Values by size: around the limits of a row, of a chunk, and of a value.

import { collect, encode, equal, fails, noise, sizedStream, stream } from "../case.js";

const LIMIT = 26214400;

/** Puts this many bytes and reads them in two ways. */
const size = (length) => async (t) => {
  const bytes = noise(length, length + 1);
  await t.kv.put(t.key("a"), bytes, { metadata: { length } });
  equal(new Uint8Array(await t.kv.get(t.key("a"), "arrayBuffer")), bytes, "as a buffer");
  const got = await t.kv.getWithMetadata(t.key("a"), "stream");
  equal(got.metadata, { length }, "metadata");
  equal(await collect(got.value), bytes, "as a stream");
};

const cases = {
  "an empty value is not a missing value": async (t) => {
    await t.kv.put(t.key("a"), "", { metadata: 1 });
    equal(await t.kv.get(t.key("a")), "");
    equal((await t.kv.get(t.key("a"), "arrayBuffer")).byteLength, 0);
    equal(await collect(await t.kv.get(t.key("a"), "stream")), new Uint8Array(0));
    const got = await t.kv.getWithMetadata(t.key("a"));
    equal([got.value, got.metadata], ["", 1]);
    equal(await t.names(), ["a"]);
  },

  "a body that looks like a head": async (t) => {
    // The server rejects DEL in request heads, as HTTP parsers do. It must not check bodies.
    const text = "\r\n\r\nPUT / HTTP/1.1\r\ncf-kv-metadata: \u007f\r\n\r\n\u007f\ncf-kv-metadata:\u007f\n\n";
    for (let i = 1; i < 40; i++) {
      const value = text.repeat(i * i) + "\u007f".repeat(i);
      const body = i % 3 ? value : stream(encode(value), 50);
      await t.kv.put(t.key("a"), body, { metadata: "\u007f" });
      equal((await t.kv.get(t.key("a"))) === value, true, `the text, ${i} times`);
    }
  },

  "25 MiB as a buffer": size(LIMIT),

  "25 MiB as text": async (t) => {
    const text = "0123456789abcdef".repeat(LIMIT / 16);
    await t.kv.put(t.key("a"), text);
    equal((await t.kv.get(t.key("a"))) === text, true, "the text");
  },

  "one byte over 25 MiB is rejected": async (t) => {
    await fails(
      () => t.kv.put(t.key("a"), new Uint8Array(LIMIT + 1)),
      `KV PUT failed: 413 Value length of ${LIMIT + 1} exceeds limit of ${LIMIT}.`,
    );
    equal(await t.kv.get(t.key("a")), null);
  },

  "one byte over as a string is rejected": async (t) => {
    await fails(
      () => t.kv.put(t.key("a"), "x".repeat(LIMIT + 1)),
      `KV PUT failed: 413 Value length of ${LIMIT + 1} exceeds limit of ${LIMIT}.`,
    );
  },

  "one byte over as a stream of known length is rejected": async (t) => {
    await fails(
      () => t.kv.put(t.key("a"), sizedStream(new Uint8Array(LIMIT + 1))),
      `KV PUT failed: 413 Value length of ${LIMIT + 1} exceeds limit of ${LIMIT}.`,
    );
    equal(await t.kv.get(t.key("a")), null);
  },

  "one byte over as a stream of unknown length is rejected": async (t) => {
    await fails(
      () => t.kv.put(t.key("a"), stream(new Uint8Array(LIMIT + 1))),
      `KV PUT failed: 413 Value length of ${LIMIT + 1} exceeds limit of ${LIMIT}.`,
    );
    equal(await t.kv.get(t.key("a")), null);
  },

  "40 MB are rejected with the same text": async (t) => {
    await fails(
      () => t.kv.put(t.key("a"), new Uint8Array(40_000_000)),
      `KV PUT failed: 413 Value length of 40000000 exceeds limit of ${LIMIT}.`,
    );
    equal(await t.kv.get(t.key("a")), null);
  },

  "the connection stays usable after a rejection": async (t) => {
    for (let i = 0; i < 3; i++) {
      await fails(() => t.kv.put(t.key("a"), new Uint8Array(LIMIT + 1)), /^KV PUT failed: 413 /);
      await t.kv.put(t.key("b"), `${i}`);
      equal(await t.kv.get(t.key("b")), `${i}`);
    }
  },
};

for (const length of [1, 2, 3583, 3584, 3585, 4095, 4096, 4097, 65279, 65280, 65281, 65536]) {
  cases[`${length} bytes`] = size(length);
}
for (const length of [130560, 130561, 1 << 20, (1 << 20) + 1, 5_000_000, LIMIT - 1]) {
  cases[`${length} bytes`] = size(length);
}

export default cases;
