// get and getWithMetadata of many keys in one call.

import { encode, equal, fails, noise, ok } from "../case.js";

async function fill(t, values) {
  for (const [name, value] of Object.entries(values)) await t.kv.put(t.key(name), value);
}

const failed = (text, status = 400) => `KV GET_BULK failed: ${status} ${text}`;

export default {
  "values and nulls in a map": async (t) => {
    await fill(t, { a: "1", b: "2" });
    const keys = ["a", "none", "b"].map((name) => t.key(name));
    equal(await t.kv.get(keys), new Map([[keys[0], "1"], [keys[1], null], [keys[2], "2"]]));
  },

  "the order of the keys is kept": async (t) => {
    const names = ["z", "a", "m", "b"];
    for (const name of names) await t.kv.put(t.key(name), name);
    equal([...(await t.kv.get(names.map((name) => t.key(name)))).values()], names);
  },

  "a duplicate key is returned once": async (t) => {
    await fill(t, { a: "1" });
    equal(await t.kv.get([t.key("a"), t.key("a")]), new Map([[t.key("a"), "1"]]));
  },

  "the type text can be named": async (t) => {
    await fill(t, { a: "[1]" });
    const expected = new Map([[t.key("a"), "[1]"]]);
    equal(await t.kv.get([t.key("a")], "text"), expected);
    equal(await t.kv.get([t.key("a")], { type: "text" }), expected);
  },

  "json is parsed": async (t) => {
    await fill(t, { a: '{"x":[1]}', b: "null", c: '"s"', d: "1.0", e: " [ ] " });
    const keys = ["a", "b", "c", "d", "e", "none"].map((name) => t.key(name));
    const got = await t.kv.get(keys, "json");
    equal([...got.values()], [{ x: [1] }, null, "s", 1, [], null]);
    equal(await t.kv.get([keys[0]], { type: "json" }), new Map([[keys[0], { x: [1] }]]));
  },

  "json of a value that is not JSON fails the call": async (t) => {
    await fill(t, { a: "1", b: "not json" });
    await fails(
      () => t.kv.get([t.key("a"), t.key("b")], "json"),
      failed("At least one of the requested keys corresponds to a non-json value"),
    );
  },

  "json of an empty value fails the call": async (t) => {
    await fill(t, { a: "" });
    await fails(
      () => t.kv.get([t.key("a")], "json"),
      failed("At least one of the requested keys corresponds to a non-json value"),
    );
  },

  "metadata is returned unchanged": async (t) => {
    await t.kv.put(t.key("a"), "1", { metadata: { m: [1, "é"] } });
    await t.kv.put(t.key("b"), "2", { metadata: "s" });
    await t.kv.put(t.key("c"), "3");
    const keys = ["a", "b", "c", "none"].map((name) => t.key(name));
    const got = await t.kv.getWithMetadata(keys);
    equal(got.get(keys[0]), { value: "1", metadata: { m: [1, "é"] } });
    equal(got.get(keys[1]), { value: "2", metadata: "s" });
    equal(got.get(keys[2]), { value: "3", metadata: null });
    equal(got.get(keys[3]) ?? null, null);
    equal(got.size, 4);
  },

  "metadata beside json": async (t) => {
    await t.kv.put(t.key("a"), "[1]", { metadata: 7 });
    const got = await t.kv.getWithMetadata([t.key("a")], "json");
    equal(got, new Map([[t.key("a"), { value: [1], metadata: 7 }]]));
  },

  "an empty value is not a missing one": async (t) => {
    await t.kv.put(t.key("a"), "", { metadata: { m: 1 } });
    equal(await t.kv.get([t.key("a")]), new Map([[t.key("a"), ""]]));
    const got = await t.kv.getWithMetadata([t.key("a")]);
    equal(got, new Map([[t.key("a"), { value: "", metadata: { m: 1 } }]]));
  },

  "bytes that are not UTF-8 are replaced": async (t) => {
    await t.kv.put(t.key("a"), Uint8Array.of(0x61, 0xff, 0x62));
    equal(await t.kv.get([t.key("a")]), new Map([[t.key("a"), "a\ufffdb"]]));
  },

  "awkward text is returned unchanged": async (t) => {
    const text = "\0\u0001\"\\\n\r\t\u007f\u2028é😀</script>";
    await fill(t, { a: text });
    equal(await t.kv.get([t.key("a")]), new Map([[t.key("a"), text]]));
  },

  "awkward keys are found": async (t) => {
    const keys = ["\0", "\n", '"', "\\", "+", "%41", "/", "é", "😀", " ", "__proto__"].map((k) => t.key(k));
    for (const key of keys) await t.kv.put(key, `v:${key}`);
    const got = await t.kv.get(keys);
    equal([...got], keys.map((key) => [key, `v:${key}`]));
  },

  "a key called __proto__ alone": async (t) => {
    await t.kv.put("__proto__", "p");
    equal(await t.kv.get("__proto__"), "p");
    await t.kv.delete("__proto__");
  },

  "100 keys are accepted": async (t) => {
    const keys = Array.from({ length: 100 }, (_, i) => t.key(`k${i}`));
    await Promise.all(keys.map((key) => t.kv.put(key, key)));
    equal(await t.kv.get(keys), new Map(keys.map((key) => [key, key])));
  },

  "101 keys are rejected": async (t) => {
    const keys = Array.from({ length: 101 }, (_, i) => t.key(`k${i}`));
    await fails(() => t.kv.get(keys), failed("You can request a maximum of 100 keys"));
    await fails(() => t.kv.getWithMetadata(keys), failed("You can request a maximum of 100 keys"));
  },

  "no keys are rejected": async (t) => {
    await fails(() => t.kv.get([]), failed("You must request a minimum of 1 key"));
  },

  "other types are rejected": async (t) => {
    for (const type of ["arrayBuffer", "stream", "banana"]) {
      await fails(
        () => t.kv.get([t.key("a")], type),
        failed(`"${type}" is not a valid type. Use "json" or "text"`),
      );
    }
  },

  "an empty key is rejected": async (t) => {
    await fails(() => t.kv.get([t.key("a"), ""]), failed("Key names must not be empty"));
  },

  "dot keys are rejected": async (t) => {
    for (const key of [".", ".."]) {
      const text = failed(`Illegal key name "${key}". Please use a different name.`);
      await fails(() => t.kv.get([key]), text);
    }
  },

  "a key of 512 bytes is accepted": async (t) => {
    const key = t.key("x".repeat(512 - t.prefix.length));
    await t.kv.put(key, "1");
    equal(await t.kv.get([key]), new Map([[key, "1"]]));
  },

  "a longer key is rejected": async (t) => {
    await fails(
      () => t.kv.get(["é".repeat(300)]),
      failed("UTF-8 encoded length of 600 exceeds key length limit of 512.", 414),
    );
  },

  "cacheTtl from 30 on is accepted": async (t) => {
    await fill(t, { a: "1" });
    const got = await t.kv.get([t.key("a")], { cacheTtl: 30 });
    equal(got, new Map([[t.key("a"), "1"]]));
  },

  "cacheTtl below 30 is rejected": async (t) => {
    await fails(
      () => t.kv.get([t.key("a")], { cacheTtl: 29 }),
      failed("Invalid cache_ttl of 29. Cache TTL must be at least 30."),
    );
  },

  "values of 25 MiB in all are accepted": async (t) => {
    const value = "x".repeat(5 << 20);
    const keys = Array.from({ length: 5 }, (_, i) => t.key(`k${i}`));
    for (const key of keys) await t.kv.put(key, value);
    const got = await t.kv.get(keys);
    ok(keys.every((key) => got.get(key) === value), "a value differs");
  },

  "values over 25 MiB in all are rejected": async (t) => {
    const value = "x".repeat(13 << 20);
    await fill(t, { a: value, b: value });
    await fails(
      () => t.kv.get([t.key("a"), t.key("b")]),
      failed("Total size of request exceeds the limit of 25MB", 413),
    );
  },

  "a large binary value is text with replacements": async (t) => {
    const bytes = noise(200_000);
    await t.kv.put(t.key("a"), bytes);
    const got = (await t.kv.get([t.key("a")])).get(t.key("a"));
    equal(got === new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes), true, "the text");
  },

  "a large value whose characters cross chunk boundaries": async (t) => {
    // Three bytes per character: sooner or later every boundary of a chunk falls into one.
    const text = "日本語".repeat(50_000);
    await t.kv.put(t.key("a"), encode(text));
    equal((await t.kv.get([t.key("a")])).get(t.key("a")) === text, true, "the text");
  },
};
