// list: its shape, prefixes, limits and order.

import { equal, fails, ok } from "../case.js";

async function fill(t, names) {
  await Promise.all(names.map((name) => t.kv.put(t.key(name), name)));
}

export default {
  "an empty list is complete and has no cursor": async (t) => {
    equal(await t.kv.list({ prefix: t.key("none") }), {
      keys: [],
      list_complete: true,
      cacheStatus: null,
    });
  },

  "a complete list has no cursor": async (t) => {
    await fill(t, ["a", "b"]);
    const page = await t.kv.list({ prefix: t.prefix });
    equal(page, {
      keys: [{ name: t.key("a") }, { name: t.key("b") }],
      list_complete: true,
      cacheStatus: null,
    });
  },

  "an entry has name, expiration and metadata": async (t) => {
    await t.kv.put(t.key("a"), "1", { expiration: 2000000000, metadata: { m: [1] } });
    equal((await t.kv.list({ prefix: t.prefix })).keys, [
      { name: t.key("a"), expiration: 2000000000, metadata: { m: [1] } },
    ]);
  },

  "no options list the namespace": async (t) => {
    await fill(t, ["a"]);
    for (const page of [await t.kv.list(), await t.kv.list({}), await t.kv.list({ prefix: null })]) {
      ok(page.keys.length > 0, "the list is empty");
      equal(typeof page.list_complete, "boolean");
    }
  },

  "an empty prefix lists all keys": async (t) => {
    await fill(t, ["a"]);
    const [all, none] = [await t.kv.list({ prefix: "" }), await t.kv.list()];
    equal(all.keys, none.keys);
  },

  "a prefix is matched by its bytes": async (t) => {
    await fill(t, ["a", "ab", "abc", "b", "A", "á", "a/", "a%", "a*"]);
    equal(await t.names({ prefix: "ab" }), ["ab", "abc"]);
    equal(await t.names({ prefix: "a" }), ["a", "a%", "a*", "a/", "ab", "abc"]);
    equal(await t.names({ prefix: "á" }), ["á"]);
    equal(await t.names({ prefix: "abcd" }), []);
    equal(await t.names({ prefix: "a*" }), ["a*"]);
  },

  "awkward prefixes match": async (t) => {
    const prefixes = ["+", " ", "%", "%20", "&", "=", "#", "?", "\0", "\n", "\u007f", "é", "😀", "\\", "[|]^"];
    await fill(t, prefixes.map((prefix) => `${prefix}x`));
    for (const prefix of prefixes) {
      const expected = prefix === "%" ? ["%20x", "%x"] : [`${prefix}x`];
      equal(await t.names({ prefix }), expected, JSON.stringify(prefix));
    }
  },

  "a prefix of 512 bytes is accepted": async (t) => {
    const name = "p".repeat(512 - t.prefix.length);
    await fill(t, [name]);
    equal(await t.names({ prefix: name }), [name]);
  },

  "a longer prefix is rejected": async (t) => {
    await fails(
      () => t.kv.list({ prefix: "p".repeat(513) }),
      "KV GET failed: 414 UTF-8 encoded length of 513 exceeds key length limit of 512.",
    );
    await fails(
      () => t.kv.list({ prefix: "é".repeat(257) }),
      "KV GET failed: 414 UTF-8 encoded length of 514 exceeds key length limit of 512.",
    );
  },

  "a limit ends the page and returns a cursor": async (t) => {
    await fill(t, ["a", "b", "c"]);
    const page = await t.kv.list({ prefix: t.prefix, limit: 2 });
    equal(page.keys.map((key) => key.name), [t.key("a"), t.key("b")]);
    equal(page.list_complete, false);
    ok(typeof page.cursor === "string" && page.cursor !== "", "the cursor is missing");
  },

  "a limit of exactly all keys is complete": async (t) => {
    await fill(t, ["a", "b", "c"]);
    const page = await t.kv.list({ prefix: t.prefix, limit: 3 });
    equal([page.keys.length, page.list_complete, page.cursor], [3, true, undefined]);
  },

  "a limit of zero or less is the default": async (t) => {
    await fill(t, ["a", "b"]);
    for (const limit of [0, -1, -1000, "none", null]) {
      equal((await t.kv.list({ prefix: t.prefix, limit })).keys.length, 2, `limit ${limit}`);
    }
  },

  "a limit of 1000 is accepted": async (t) => {
    equal((await t.kv.list({ prefix: t.prefix, limit: 1000 })).keys, []);
  },

  "a limit over 1000 is rejected": async (t) => {
    for (const limit of [1001, 2147483647]) {
      await fails(
        () => t.kv.list({ limit }),
        `KV GET failed: 400 Invalid key_count_limit of ${limit}. Please specify an integer less than 1000.`,
      );
    }
  },

  "keys are in the order of their bytes": async (t) => {
    const names = ["\0", "\u0001", "!", "0", "10", "2", "A", "B", "a", "aa", "b", "~", "\u007f", "é", "zz"];
    await fill(t, names);
    const expected = ["\0", "\u0001", "!", "0", "10", "2", "A", "B", "a", "aa", "b", "zz", "~", "\u007f", "é"];
    equal(await t.names(), expected);
  },

  "U+FF5E comes before an emoji": async (t) => {
    // In the order of UTF-16, in which JS sorts, it would come after the emoji.
    await fill(t, ["😀", "\uff5e", "\ud7ff", "z", "\u{10ffff}", "\ue000"]);
    equal(await t.names(), ["z", "\ud7ff", "\ue000", "\uff5e", "😀", "\u{10ffff}"]);
  },

  "keys that are one byte longer follow directly": async (t) => {
    await fill(t, ["a", "a\0", "a\0\0", "a\u0001", "b"]);
    equal(await t.names(), ["a", "a\0", "a\0\0", "a\u0001", "b"]);
  },

  "large and empty values are listed the same way": async (t) => {
    await t.kv.put(t.key("large"), new Uint8Array(2 << 20));
    await t.kv.put(t.key("empty"), "");
    equal(await t.names(), ["empty", "large"]);
  },

  "a put is listed at once and a deleted key is not": async (t) => {
    for (let i = 0; i < 5; i++) {
      await t.kv.put(t.key("a"), "1");
      equal(await t.names(), ["a"]);
      await t.kv.delete(t.key("a"));
      equal(await t.names(), []);
    }
  },

  "quotes and controls in names are returned unchanged": async (t) => {
    const names = ['"', "\\", "\\\"", "</script>", "\u2028", "\u001f", "{}"];
    await fill(t, names);
    equal((await t.names()).sort(), [...names].sort());
  },
};
