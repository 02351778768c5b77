// Entries that expire while the case runs. A put can't have less than a minute, so the test writes
// these into the store before the server starts: `small` and `large`, with metadata.

import { equal, ok, sleep } from "../case.js";

const KEYS = ["large", "small"];

export default {
  "entries disappear from every call when they expire": async (t) => {
    const before = await t.kv.list();
    equal(before.keys.map((key) => key.name), KEYS);
    const at = before.keys[0].expiration * 1000;
    for (const key of KEYS) {
      equal((await t.kv.getWithMetadata(key, "arrayBuffer")).metadata, { of: key });
    }
    ok(Date.now() < at, "the machine is too slow: the entries expired before the test began");

    while ((await t.kv.get("small")) !== null) {
      ok(Date.now() < at + 2000, "an expired entry is still visible");
      await sleep(20);
    }
    ok(Date.now() >= at, `the entry went ${at - Date.now()} ms too early`);

    for (const key of KEYS) {
      equal(await t.kv.get(key, "stream"), null, key);
      const got = await t.kv.getWithMetadata(key);
      equal([got.value, got.metadata], [null, null], `${key} with metadata`);
    }
    equal((await t.kv.list()).keys, []);
    equal(await t.kv.get(KEYS), new Map(KEYS.map((key) => [key, null])));
  },

  "an expired key can be put again": async (t) => {
    await t.kv.put("small", "again");
    equal(await t.kv.get("small"), "again");
    equal((await t.kv.getWithMetadata("small")).metadata, null);
    equal((await t.kv.list()).keys, [{ name: "small" }]);
  },
};
