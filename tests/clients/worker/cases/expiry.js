// Expiry: what is accepted, what is rejected with which text, and which calls show it.

import { equal, fails, now, ok } from "../case.js";

/** The expiration in the list after a put with these options. */
async function listedAfter(t, options) {
  await t.kv.put(t.key("a"), "v", options);
  return (await t.listed(t.key("a"))).expiration;
}

function near(actual, expected, what) {
  ok(Math.abs(actual - expected) <= 2, `${what}: expected about ${expected}, got ${actual}`);
}

const ttlText = (ttl, rest) => `KV PUT failed: 400 Invalid expiration_ttl of ${ttl}. ${rest}`;
const atText = (at, rest) => `KV PUT failed: 400 Invalid expiration of ${at}. ${rest}`;
const FUTURE = "Please specify integer greater than the current number of seconds since the UNIX epoch.";
const SOON = "Expiration times must be at least 60 seconds in the future.";

export default {
  "an expiration is listed unchanged": async (t) => {
    const at = now() + 1000;
    equal(await listedAfter(t, { expiration: at }), at);
    equal(await t.kv.get(t.key("a")), "v");
  },

  "an expirationTtl is listed as a time": async (t) => {
    near(await listedAfter(t, { expirationTtl: 60 }), now() + 60, "60");
    near(await listedAfter(t, { expirationTtl: 3600 }), now() + 3600, "3600");
  },

  "an entry without expiration is listed without one": async (t) => {
    equal(await listedAfter(t, {}), undefined);
    ok(!("expiration" in (await t.listed(t.key("a")))), "the field exists");
  },

  "the ttl overrides the time": async (t) => {
    near(await listedAfter(t, { expiration: now() + 5000, expirationTtl: 100 }), now() + 100, "both");
    near(await listedAfter(t, { expiration: 1, expirationTtl: 100 }), now() + 100, "a bad time");
  },

  "an invalid ttl is rejected even with a valid time": async (t) => {
    await fails(
      () => t.kv.put(t.key("a"), "v", { expiration: now() + 5000, expirationTtl: 59 }),
      ttlText(59, "Expiration TTL must be at least 60."),
    );
  },

  "fractions are truncated": async (t) => {
    near(await listedAfter(t, { expirationTtl: 61.9 }), now() + 61, "61.9");
    await fails(
      () => t.kv.put(t.key("b"), "v", { expirationTtl: 59.9 }),
      ttlText(59, "Expiration TTL must be at least 60."),
    );
  },

  "the longest ttl exceeds 2^31 and is kept": async (t) => {
    near(await listedAfter(t, { expirationTtl: 2147483647 }), now() + 2147483647, "2147483647");
  },

  "the latest expiration is accepted": async (t) => {
    equal(await listedAfter(t, { expiration: 2147483647 }), 2147483647);
  },

  "a ttl below 60 is rejected": async (t) => {
    for (const ttl of [1, 30, 59]) {
      await fails(
        () => t.kv.put(t.key("a"), "v", { expirationTtl: ttl }),
        ttlText(ttl, "Expiration TTL must be at least 60."),
      );
    }
    equal(await t.kv.get(t.key("a")), null);
  },

  "a ttl of zero or less is rejected": async (t) => {
    for (const ttl of [0, -1, -2147483648]) {
      await fails(
        () => t.kv.put(t.key("a"), "v", { expirationTtl: ttl }),
        ttlText(ttl, "Please specify integer greater than 0."),
      );
    }
  },

  "a ttl that is not a number is zero": async (t) => {
    await fails(
      () => t.kv.put(t.key("a"), "v", { expirationTtl: "soon" }),
      ttlText(0, "Please specify integer greater than 0."),
    );
  },

  "a time that has passed is rejected": async (t) => {
    for (const at of [0, -1, 1, now() - 10]) {
      await fails(() => t.kv.put(t.key("a"), "v", { expiration: at }), atText(at, FUTURE));
    }
    equal(await t.kv.get(t.key("a")), null);
  },

  "a time less than 60 s ahead is rejected": async (t) => {
    for (const ahead of [10, 30, 55]) {
      const at = now() + ahead;
      await fails(() => t.kv.put(t.key("a"), "v", { expiration: at }), atText(at, SOON));
    }
  },

  "a time more than 60 s ahead is accepted": async (t) => {
    const at = now() + 65;
    equal(await listedAfter(t, { expiration: at }), at);
  },

  "a rejected expiry of a large body is reported as such": async (t) => {
    // The server must read the whole body first; otherwise the caller sees a lost connection.
    await fails(
      () => t.kv.put(t.key("a"), new Uint8Array(10_000_000), { expirationTtl: 59 }),
      ttlText(59, "Expiration TTL must be at least 60."),
    );
  },

  "a large value can expire": async (t) => {
    const at = now() + 1000;
    await t.kv.put(t.key("a"), new Uint8Array(1 << 20), { expiration: at, metadata: 1 });
    equal(await t.listed(t.key("a")), { name: t.key("a"), expiration: at, metadata: 1 });
  },

  "a bulk get finds a key that will expire": async (t) => {
    await t.kv.put(t.key("a"), "v", { expirationTtl: 100 });
    equal(await t.kv.get([t.key("a")]), new Map([[t.key("a"), "v"]]));
  },
};
