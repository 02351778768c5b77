// get and getWithMetadata: the result for an existing key, for a missing key, and for each type.

import { collect, encode, equal, fails, ok } from "../case.js";

const TYPES = ["text", "json", "arrayBuffer", "stream"];

export default {
  "a missing key is null in every type": async (t) => {
    equal(await t.kv.get(t.key("none")), null);
    for (const type of TYPES) {
      equal(await t.kv.get(t.key("none"), type), null, type);
      equal(await t.kv.get(t.key("none"), { type }), null, `{type: ${type}}`);
    }
  },

  "getWithMetadata of a missing key has null value and metadata": async (t) => {
    for (const type of [undefined, ...TYPES]) {
      const got = await t.kv.getWithMetadata(t.key("none"), type);
      equal([got.value, got.metadata], [null, null], type);
      ok("cacheStatus" in got, "cacheStatus is absent");
    }
  },

  "text is the default type": async (t) => {
    await t.kv.put(t.key("a"), "héllo");
    equal(await t.kv.get(t.key("a")), "héllo");
    equal(await t.kv.get(t.key("a"), "text"), "héllo");
    equal(await t.kv.get(t.key("a"), { type: "text" }), "héllo");
    equal(await t.kv.get(t.key("a"), {}), "héllo");
  },

  "json is parsed": async (t) => {
    const value = { a: [1, 2, { b: null }], c: "é", d: 1.5, e: true };
    await t.kv.put(t.key("a"), JSON.stringify(value));
    equal(await t.kv.get(t.key("a"), "json"), value);
    equal(await t.kv.get(t.key("a"), { type: "json" }), value);
  },

  "json of scalars is parsed": async (t) => {
    for (const value of [0, -1, "text", "", null, true, []]) {
      await t.kv.put(t.key("a"), JSON.stringify(value));
      equal(await t.kv.get(t.key("a"), "json"), value);
    }
  },

  "json of a value that is not JSON is a SyntaxError": async (t) => {
    await t.kv.put(t.key("a"), "not json");
    await fails(() => t.kv.get(t.key("a"), "json"), /not valid JSON|Unexpected token/, SyntaxError);
  },

  "an array buffer is the bytes": async (t) => {
    await t.kv.put(t.key("a"), "héllo");
    equal(new Uint8Array(await t.kv.get(t.key("a"), "arrayBuffer")), encode("héllo"));
  },

  "a stream is the bytes": async (t) => {
    await t.kv.put(t.key("a"), "héllo");
    const body = await t.kv.get(t.key("a"), "stream");
    ok(body instanceof ReadableStream, "it is not a stream");
    equal(await collect(body), encode("héllo"));
  },

  "getWithMetadata supports every type": async (t) => {
    await t.kv.put(t.key("a"), "[1]", { metadata: { m: 1 } });
    const get = async (type) => {
      const got = await t.kv.getWithMetadata(t.key("a"), type);
      equal(got.metadata, { m: 1 }, `metadata of ${type}`);
      return got.value;
    };
    equal(await get("text"), "[1]");
    equal(await get({ type: "text" }), "[1]");
    equal(await get("json"), [1]);
    equal(new Uint8Array(await get("arrayBuffer")), encode("[1]"));
    equal(await collect(await get("stream")), encode("[1]"));
  },

  "an entry without metadata has null metadata": async (t) => {
    await t.kv.put(t.key("a"), "1");
    equal((await t.kv.getWithMetadata(t.key("a"))).metadata, null);
  },

  "an unknown type is a TypeError for an existing key": async (t) => {
    await t.kv.put(t.key("a"), "1");
    await fails(() => t.kv.get(t.key("a"), "banana"), /^Unknown response type/, TypeError);
  },

  "an unknown type is null for a missing key": async (t) => {
    equal(await t.kv.get(t.key("none"), "banana"), null);
  },

  "cacheTtl from 30 on is accepted": async (t) => {
    await t.kv.put(t.key("a"), "1");
    for (const cacheTtl of [30, 31, 60, 61.9, 3600, 2147483647]) {
      equal(await t.kv.get(t.key("a"), { cacheTtl }), "1", `cacheTtl ${cacheTtl}`);
      equal((await t.kv.getWithMetadata(t.key("a"), { cacheTtl })).value, "1");
    }
  },

  "cacheTtl below 30 is rejected": async (t) => {
    await t.kv.put(t.key("a"), "1");
    for (const cacheTtl of [29, 1, 0, -1, -2147483648]) {
      const text = `KV GET failed: 400 Invalid cache_ttl of ${cacheTtl}. Cache TTL must be at least 30.`;
      await fails(() => t.kv.get(t.key("a"), { cacheTtl }), text);
      await fails(() => t.kv.getWithMetadata(t.key("a"), { cacheTtl }), text);
    }
  },

  "cacheTtl is rejected before the lookup": async (t) => {
    const text = "KV GET failed: 400 Invalid cache_ttl of 29. Cache TTL must be at least 30.";
    await fails(() => t.kv.get(t.key("none"), { cacheTtl: 29 }), text);
  },

  "a cacheTtl that is not a number is zero": async (t) => {
    const text = "KV GET failed: 400 Invalid cache_ttl of 0. Cache TTL must be at least 30.";
    await fails(() => t.kv.get(t.key("a"), { cacheTtl: "soon" }), text);
  },

  "the next get sees a put": async (t) => {
    for (let i = 0; i < 20; i++) {
      await t.kv.put(t.key("a"), `${i}`);
      equal(await t.kv.get(t.key("a")), `${i}`);
    }
  },

  "an abandoned stream leaves the connection usable": async (t) => {
    await t.kv.put(t.key("a"), new Uint8Array(4 << 20));
    for (let i = 0; i < 5; i++) {
      const reader = (await t.kv.get(t.key("a"), "stream")).getReader();
      await reader.read();
      await reader.cancel();
    }
    equal((await t.kv.get(t.key("a"), "arrayBuffer")).byteLength, 4 << 20);
  },

  "an open stream survives an overwrite and a delete": async (t) => {
    const old = new Uint8Array(20 << 20).fill(7);
    await t.kv.put(t.key("a"), old);
    const first = (await t.kv.get(t.key("a"), "stream")).getReader();
    let length = (await first.read()).value.byteLength;
    await t.kv.put(t.key("a"), "new");
    await t.kv.delete(t.key("a"));
    for (;;) {
      const { done, value } = await first.read();
      if (done) break;
      ok(value.every((byte) => byte === 7), "the old value is mixed with something else");
      length += value.byteLength;
    }
    equal(length, old.byteLength, "length of the old value");
    equal(await t.kv.get(t.key("a")), null);
  },
};
