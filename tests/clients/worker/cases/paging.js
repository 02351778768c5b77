// Pages and cursors: a cursor means "after this key", whatever happens between two pages.

import { equal, ok, parallel } from "../case.js";

const name = (i) => `k${String(i).padStart(5, "0")}`;

async function fill(t, count) {
  const names = Array.from({ length: count }, (_, i) => name(i));
  await parallel(50, names, (key) => t.kv.put(t.key(key), "v"));
  return names;
}

/** The names on each page of the whole list. */
async function pages(t, limit, between = async () => {}) {
  const all = [];
  let cursor;
  do {
    const page = await t.kv.list({ prefix: t.prefix, limit, cursor });
    all.push(page.keys.map((key) => key.name.slice(t.prefix.length)));
    equal("cursor" in page, !page.list_complete, "a cursor exactly if the list is not complete");
    cursor = page.cursor;
    await between(all.length);
    ok(all.length < 1000, "the pages do not end");
  } while (cursor !== undefined);
  return all;
}

export default {
  "2,500 keys come in three pages": async (t) => {
    const names = await fill(t, 2500);
    const got = await pages(t);
    equal(got.map((page) => page.length), [1000, 1000, 500]);
    equal(got.flat(), names);
  },

  "pages of one key": async (t) => {
    const names = await fill(t, 12);
    const got = await pages(t, 1);
    equal(got, names.map((key) => [key]));
  },

  "pages of seven": async (t) => {
    const names = await fill(t, 50);
    const got = await pages(t, 7);
    equal(got.flat(), names);
    equal(got.length, 8);
  },

  "a last full page is complete": async (t) => {
    await fill(t, 20);
    equal((await pages(t, 10)).map((page) => page.length), [10, 10]);
  },

  "deletes before and after the cursor": async (t) => {
    await fill(t, 30);
    const got = await pages(t, 10, async (page) => {
      if (page !== 1) return;
      for (const i of [3, 9, 10, 11, 25]) await t.kv.delete(t.key(name(i)));
    });
    equal(got[1], [12, 13, 14, 15, 16, 17, 18, 19, 20, 21].map(name));
    equal(got[2], [22, 23, 24, 26, 27, 28, 29].map(name));
  },

  "the cursor's own key deleted": async (t) => {
    await fill(t, 10);
    const got = await pages(t, 5, async (page) => {
      if (page === 1) await t.kv.delete(t.key(name(4)));
    });
    equal(got[1], [5, 6, 7, 8, 9].map(name));
  },

  "everything after the cursor deleted": async (t) => {
    await fill(t, 10);
    const got = await pages(t, 5, async (page) => {
      if (page === 1) for (let i = 5; i < 10; i++) await t.kv.delete(t.key(name(i)));
    });
    equal(got, [[0, 1, 2, 3, 4].map(name), []]);
  },

  "inserts after the cursor are listed and those before are not": async (t) => {
    await fill(t, 10);
    const got = await pages(t, 5, async (page) => {
      if (page !== 1) return;
      await t.kv.put(t.key("k00002b"), "v");
      await t.kv.put(t.key("k00004b"), "v");
      await t.kv.put(t.key("k00007b"), "v");
    });
    equal(got[1], ["k00004b", name(5), name(6), name(7), "k00007b"]);
    equal(got[2], [name(8), name(9)]);
  },

  "the limit may change between pages": async (t) => {
    const names = await fill(t, 10);
    const first = await t.kv.list({ prefix: t.prefix, limit: 3 });
    const second = await t.kv.list({ prefix: t.prefix, limit: 1, cursor: first.cursor });
    const third = await t.kv.list({ prefix: t.prefix, cursor: second.cursor });
    const got = [first, second, third].flatMap((page) => page.keys.map((key) => key.name));
    equal(got, names.map((key) => t.key(key)));
  },

  "a cursor may be used again": async (t) => {
    await fill(t, 10);
    const { cursor } = await t.kv.list({ prefix: t.prefix, limit: 3 });
    const first = await t.kv.list({ prefix: t.prefix, limit: 3, cursor });
    const again = await t.kv.list({ prefix: t.prefix, limit: 3, cursor });
    equal(again, first);
  },

  "the empty cursor is the start": async (t) => {
    await fill(t, 4);
    const page = await t.kv.list({ prefix: t.prefix, cursor: "", limit: 2 });
    equal(page.keys.map((key) => key.name), [t.key(name(0)), t.key(name(1))]);
  },

  "cursors of awkward names": async (t) => {
    const names = ["\0", "\n", " ", "%", "+", "/", "?", "[|]^", "a b", "é", "\uff5e", "😀"];
    for (const key of names) await t.kv.put(t.key(key), "v");
    equal((await pages(t, 1)).flat(), names);
  },

  "cursors of the longest names": async (t) => {
    const names = ["a", "b", "c"].map((end) => "x".repeat(511 - t.prefix.length) + end);
    for (const key of names) await t.kv.put(t.key(key), "v");
    equal((await pages(t, 1)).flat(), names);
  },

  "a narrower prefix with a wider cursor": async (t) => {
    for (const key of ["a1", "a2", "b1", "b2"]) await t.kv.put(t.key(key), "v");
    const { cursor } = await t.kv.list({ prefix: t.prefix, limit: 1 });
    const page = await t.kv.list({ prefix: t.key("b"), cursor });
    equal(page.keys.map((key) => key.name), [t.key("b1"), t.key("b2")]);
  },

  "a foreign cursor gets a response": async (t) => {
    await fill(t, 2);
    for (const cursor of ["!!!", "AAAA", "ÿ", "x".repeat(2000)]) {
      try {
        const page = await t.kv.list({ prefix: t.prefix, cursor });
        ok(Array.isArray(page.keys), "the page has no keys");
      } catch (error) {
        ok(error.message.startsWith("KV GET failed: 400 "), `it failed with ${error.message}`);
      }
    }
  },
};
