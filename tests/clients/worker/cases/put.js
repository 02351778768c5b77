// put: what each kind of JS value becomes, and what an overwrite replaces.

import { decode, encode, equal, fails, noise, show } from "../case.js";

async function stored(t, value) {
  await t.kv.put(t.key("a"), value);
  return new Uint8Array(await t.kv.get(t.key("a"), "arrayBuffer"));
}

export default {
  "it returns undefined": async (t) => {
    equal(await t.kv.put(t.key("a"), "1"), undefined);
  },

  "a string is its UTF-8": async (t) => {
    for (const text of ["plain", "héllo wörld", "日本語", "😀 end", "a\0b\r\n", " spaces "]) {
      equal(await stored(t, text), encode(text), show(text));
    }
  },

  "a byte order mark is kept": async (t) => {
    equal(await stored(t, "\ufeffabc"), encode("\ufeffabc"));
  },

  "an ArrayBuffer is its bytes": async (t) => {
    const bytes = noise(1000);
    equal(await stored(t, bytes.buffer), bytes);
  },

  "a view is its window of the buffer": async (t) => {
    const bytes = noise(1000);
    equal(await stored(t, bytes.subarray(100, 200)), bytes.slice(100, 200));
    equal(await stored(t, new DataView(bytes.buffer, 10, 20)), bytes.slice(10, 30));
    equal(await stored(t, new Uint16Array(bytes.buffer, 4, 3)), bytes.slice(4, 10));
  },

  "every byte survives": async (t) => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    equal(await stored(t, bytes), bytes);
  },

  "a number and a boolean are their text": async (t) => {
    equal(decode(await stored(t, 5)), "5");
    equal(decode(await stored(t, 1.5)), "1.5");
    equal(decode(await stored(t, true)), "true");
  },

  "null and undefined are their text": async (t) => {
    equal(decode(await stored(t, null)), "null");
    equal(decode(await stored(t, undefined)), "undefined");
  },

  "any other object is a TypeError": async (t) => {
    await fails(() => t.kv.put(t.key("a"), { a: 1 }), /./, TypeError);
    await fails(() => t.kv.put(t.key("a"), new Blob(["a"])), /./, TypeError);
    equal(await t.kv.get(t.key("a")), null);
  },

  "a put replaces the value": async (t) => {
    await t.kv.put(t.key("a"), "one");
    await t.kv.put(t.key("a"), "two, which is longer");
    equal(await t.kv.get(t.key("a")), "two, which is longer");
    await t.kv.put(t.key("a"), "3");
    equal(await t.kv.get(t.key("a")), "3");
    equal(await t.names(), ["a"]);
  },

  "a put without metadata and expiry removes both": async (t) => {
    await t.kv.put(t.key("a"), "1", { metadata: { m: 1 }, expirationTtl: 1000 });
    await t.kv.put(t.key("a"), "2");
    equal(await t.kv.getWithMetadata(t.key("a")).then((got) => got.metadata), null);
    equal(await t.listed(t.key("a")), { name: t.key("a") });
  },

  "a small value replaces a large one and vice versa": async (t) => {
    const large = noise(300_000);
    for (const value of [encode("s"), large, encode("t"), new Uint8Array(0), large]) {
      equal(await stored(t, value), value);
    }
  },

  "a rejected put changes nothing": async (t) => {
    await t.kv.put(t.key("a"), "old", { metadata: "m" });
    await fails(() => t.kv.put(t.key("a"), "new", { expirationTtl: 1 }), /^KV PUT failed: 400/);
    await fails(() => t.kv.put(t.key("a"), "new", { metadata: "x".repeat(2000) }), /413/);
    await fails(() => t.kv.put(t.key("a"), new Uint8Array(26214401)), /413/);
    const got = await t.kv.getWithMetadata(t.key("a"));
    equal([got.value, got.metadata], ["old", "m"]);
  },

  "a value that looks like another format is stored unchanged": async (t) => {
    // The value must not affect the response headers: a gzip magic number does not mean
    // Content-Encoding.
    const gzip = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3);
    equal(await stored(t, gzip), gzip);
    equal(decode(await stored(t, "<html><script>1</script>")), "<html><script>1</script>");
  },
};
