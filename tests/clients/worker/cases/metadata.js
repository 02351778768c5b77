// Metadata in its three forms on the wire: a header, JSON text in a list, JSON in a bulk get.

import { equal, fails, ok, show } from "../case.js";

/** Puts the metadata and reads it back through every call that shows it. */
const form = (metadata) => async (t) => {
  const key = t.key("a");
  await t.kv.put(key, "v", { metadata });
  const got = await t.kv.getWithMetadata(key);
  equal(got.value, "v");
  equal(got.metadata, metadata, "by getWithMetadata");
  equal(await t.listed(key), { name: key, metadata }, "by list");
  const bulk = await t.kv.getWithMetadata([key]);
  equal(bulk.get(key), { value: "v", metadata }, "by bulk get");
};

/** Metadata whose JSON text has exactly this many bytes. */
const ofBytes = (bytes) => "x".repeat(bytes - 2);

export default {
  "an object": form({ a: 1, b: "two", c: [3] }),
  "a nested object": form({ a: { b: { c: { d: [{ e: null }, [], {}] } } } }),
  "an empty object": form({}),
  "an array": form([1, "two", null, [3]]),
  "an empty array": form([]),
  'the string "s"': form("s"),
  "an empty string": form(""),
  "a string that is JSON": form('{"a":1}'),
  "a string that looks like null": form("null"),
  "a number": form(42),
  "zero": form(0),
  "a fraction": form(-1.25e-7),
  "true": form(true),
  "false": form(false),
  "non-ASCII text": form({ "naïve": "ünïcödé", jp: "日本語" }),
  "an emoji": form({ face: "😀👩‍👩‍👧" }),
  "the DEL character": form({ del: "a\u007fb" }),
  "control characters": form({ c: "\0\u0001\b\t\n\r\u001f" }),
  "C1 controls and line separators": form({ c: "\u0080\u009f\u2028\u2029\ufeff" }),
  "quotes and backslashes": form({ q: "\"'\\/`<>&" }),
  "header syntax": form({ h: "a: b, c; d=\"e\"\r\nX-Injected: 1" }),
  "spaces at the ends": form("  two  "),
  "awkward property names": form({ "": 1, "a b": 2, constructor: 3, é: 4 }),
  "a large integer": form(9007199254740991),

  "null means no metadata": async (t) => {
    await t.kv.put(t.key("a"), "v", { metadata: null });
    equal((await t.kv.getWithMetadata(t.key("a"))).metadata, null);
    equal(await t.listed(t.key("a")), { name: t.key("a") });
  },

  "undefined means no metadata": async (t) => {
    await t.kv.put(t.key("a"), "v", { metadata: undefined });
    equal((await t.kv.getWithMetadata(t.key("a"))).metadata, null);
    equal(await t.listed(t.key("a")), { name: t.key("a") });
  },

  "1024 bytes are accepted": form(ofBytes(1024)),

  "1025 bytes are rejected": async (t) => {
    await fails(
      () => t.kv.put(t.key("a"), "v", { metadata: ofBytes(1025) }),
      "KV PUT failed: 413 Metadata length of 1025 exceeds limit of 1024.",
    );
    equal(await t.kv.get(t.key("a")), null);
  },

  "the limit counts bytes of UTF-8": async (t) => {
    await form("é".repeat(511))(t);
    await fails(
      () => t.kv.put(t.key("b"), "v", { metadata: "é".repeat(512) }),
      "KV PUT failed: 413 Metadata length of 1026 exceeds limit of 1024.",
    );
  },

  "the limit counts escapes as sent": async (t) => {
    await form("\n".repeat(511))(t);
    await fails(
      () => t.kv.put(t.key("b"), "v", { metadata: "\n".repeat(512) }),
      "KV PUT failed: 413 Metadata length of 1026 exceeds limit of 1024.",
    );
  },

  "1024 bytes that grow when escaped are returned unchanged": form("\u007f".repeat(1022)),

  "far more than the limit is rejected the same way": async (t) => {
    await fails(
      () => t.kv.put(t.key("a"), "v", { metadata: "x".repeat(20_000) }),
      "KV PUT failed: 413 Metadata length of 20002 exceeds limit of 1024.",
    );
  },

  "a large value keeps its metadata": async (t) => {
    await t.kv.put(t.key("a"), new Uint8Array(1 << 20), { metadata: { big: true } });
    const got = await t.kv.getWithMetadata(t.key("a"), "arrayBuffer");
    equal([got.value.byteLength, got.metadata], [1 << 20, { big: true }]);
    equal((await t.listed(t.key("a"))).metadata, { big: true });
  },

  "a put replaces the metadata": async (t) => {
    for (const metadata of [{ n: 1 }, "two", 3]) {
      await t.kv.put(t.key("a"), "v", { metadata });
      equal((await t.kv.getWithMetadata(t.key("a"))).metadata, metadata, show(metadata));
    }
  },

  "a delete removes the metadata": async (t) => {
    await t.kv.put(t.key("a"), "v", { metadata: 1 });
    await t.kv.delete(t.key("a"));
    equal((await t.kv.getWithMetadata(t.key("a"))).metadata, null);
    await t.kv.put(t.key("a"), "w");
    equal((await t.kv.getWithMetadata(t.key("a"))).metadata, null);
  },

  "a page of 1,000 entries with full metadata": async (t) => {
    const metadata = "é".repeat(500);
    const names = Array.from({ length: 1000 }, (_, i) => `k${String(i).padStart(4, "0")}`);
    for (let i = 0; i < names.length; i += 100) {
      const part = names.slice(i, i + 100);
      await Promise.all(part.map((name) => t.kv.put(t.key(name), "v", { metadata })));
    }
    const page = await t.kv.list({ prefix: t.prefix });
    equal(page.keys.length, 1000);
    equal(page.list_complete, true);
    ok(page.keys.every((key) => key.metadata === metadata), "some metadata differs");
  },
};
