// delete: of keys that exist, never existed, or were deleted.

import { equal, noise } from "../case.js";

export default {
  "it returns undefined": async (t) => {
    equal(await t.kv.delete(t.key("a")), undefined);
  },

  "a key is gone from every call": async (t) => {
    await t.kv.put(t.key("a"), "1", { metadata: 1 });
    await t.kv.delete(t.key("a"));
    equal(await t.kv.get(t.key("a")), null);
    equal((await t.kv.getWithMetadata(t.key("a"))).value, null);
    equal(await t.names(), []);
    equal(await t.kv.get([t.key("a")]), new Map([[t.key("a"), null]]));
  },

  "a missing key is not an error": async (t) => {
    await t.kv.delete(t.key("never"));
    await t.kv.put(t.key("a"), "1");
    await t.kv.delete(t.key("a"));
    await t.kv.delete(t.key("a"));
  },

  "only that key is deleted": async (t) => {
    for (const name of ["a", "aa", "a/b", "A"]) await t.kv.put(t.key(name), name);
    await t.kv.delete(t.key("a"));
    equal(await t.names(), ["A", "a/b", "aa"]);
  },

  "a put recreates the key": async (t) => {
    for (let i = 0; i < 10; i++) {
      await t.kv.put(t.key("a"), `${i}`);
      await t.kv.delete(t.key("a"));
      equal(await t.kv.get(t.key("a")), null);
    }
    await t.kv.put(t.key("a"), "back");
    equal(await t.kv.get(t.key("a")), "back");
  },

  "a large value is deleted": async (t) => {
    await t.kv.put(t.key("a"), noise(5_000_000));
    await t.kv.delete(t.key("a"));
    equal(await t.kv.get(t.key("a"), "stream"), null);
  },

  "an array is one key with commas": async (t) => {
    for (const name of ["a", "b", "a,b"]) await t.kv.put(name, name);
    await t.kv.delete(["a", "b"]);
    equal(await t.kv.get("a,b"), null);
    equal(await t.kv.get("a"), "a");
    await t.kv.delete("a");
    await t.kv.delete("b");
  },

  "many deletes on one connection leave it usable": async (t) => {
    // A body in the reply would make the runtime drop the connection.
    for (let i = 0; i < 50; i++) await t.kv.delete(t.key(`k${i}`));
    await t.kv.put(t.key("a"), "1");
    equal(await t.kv.get(t.key("a")), "1");
  },
};
