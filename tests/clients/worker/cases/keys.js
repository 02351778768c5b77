// Keys: every awkward character and name, through every call.

import { equal, fails, show } from "../case.js";

/** Puts the key, finds it with get, list and bulk get, and deletes it (which encodes it differently). */
async function lives(t, key) {
  const what = `key ${show(key).slice(0, 150)}`;
  await t.kv.put(key, `value of ${key}`, { metadata: key.length });
  const got = await t.kv.getWithMetadata(key);
  equal(got.value, `value of ${key}`, what);
  equal(got.metadata, key.length, `metadata of ${what}`);
  equal((await t.listed(key)).name, key, what);
  equal((await t.kv.get([key])).get(key), `value of ${key}`, what);
  await t.kv.delete(key);
  equal(await t.kv.get(key), null, `${what} after its delete`);
}

/** Each of the names works as a key, under the case's prefix. */
const each = (...names) => async (t) => {
  for (const name of names) await lives(t, t.key(name));
};

/** The names work as keys without the prefix. Integer-like keys are left out, because the runtime drops them from maps. */
const bare = (...keys) => async (t) => {
  for (const key of keys) await lives(t, key);
};

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => String.fromCharCode(from + i));

export default {
  "ASCII controls": each(...range(0x00, 0x1f)),
  "ASCII punctuation and digits": each(...range(0x20, 0x40)),
  "ASCII upper case": each(...range(0x41, 0x60)),
  "ASCII lower case": each(...range(0x61, 0x7e)),
  "DEL": each("\u007f", "a\u007fb"),
  "NUL": each("\0", "\0\0", "a\0", "\0a"),
  "newlines": each("\n", "\r", "\r\n", "a\nb", "a\r\nX-Injected: 1\r\n\r\n"),
  "every ASCII character in one key": each(range(0x00, 0x7f).join("")),
  "Latin-1": each(range(0x80, 0x9f).join(""), range(0xa0, 0xbf).join(""), ...range(0xc0, 0xff)),
  "scripts": each("日本語", "العربية", "עברית", "ไทย", "한국어", "Ελληνικά"),
  "emoji": each("😀", "👩‍👩‍👧", "🇳🇿", "\u{10ffff}"),
  "edges of UTF-8": each("\u007f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\u{10000}"),
  "separators and marks": each("\u2028", "\u2029", "\ufeff", "\u200b", "\u00a0", "\u202e"),
  "slashes": each("/", "//", "a/b", "a//b", "a/", "/a", "a/b/c/", "\\", "a\\b"),
  "a slash first": bare("/", "//", "/a", "//a", "///"),
  "dots in paths": each(".", "..", "a/.", "a/..", "./a", "../a", "...", "a/../b"),
  "dots first": bare("...", "./a", "../a", "..a", ".a", ".%2e", "%2e", "%2e%2e", "%2E", "./", "../"),
  "percent signs": each("%", "%%", "%4", "%41", "%2F", "%2f", "%00", "%zz", "100%", "%25", "%E9"),
  "percent first": bare("%", "%%", "%2F", "%zz"),
  "plus and space": each("+", " ", "a+b", "a b", "%20", "%2B", " lead", "trail ", "  "),
  "brackets, bar and caret": each("[", "]", "|", "^", "[]|^", "{}", "`", '"', "<>"),
  "query characters": each("?", "#", "&", "=", "?a=b", "a?urlencoded=false", "a#b", "a&b=c;d"),
  "query first": bare("?", "?a=b", "#a", "&", "=", "?urlencoded=true"),
  "routes of the server": bare("metrics", "healthz", "readyz", "bulk/get", "bulk", "ratelimit"),
  "paths of the server": bare("v1/namespaces", "binding/x/y", "client/v4/accounts", "binding", "v1"),
  "schemes and hosts": bare("http://example.com/a", "//example.com/a", "http:", "*", "a:80", "@"),
  "names of JavaScript": each("__proto__", "constructor", "toString", "hasOwnProperty", "null", "undefined"),
  "numbers": each("0", "42", "-1", "01", "1e3", "NaN"),
  "one character": bare("a", "-", "_", "~", "!", "$", "'", "(", ")", ",", ";", "é", "😀", "\0", "\n"),

  "plus and space are different keys": async (t) => {
    await t.kv.put(t.key("a+b"), "plus");
    await t.kv.put(t.key("a b"), "space");
    equal([await t.kv.get(t.key("a+b")), await t.kv.get(t.key("a b"))], ["plus", "space"]);
  },

  "an escape and its character are different keys": async (t) => {
    await t.kv.put(t.key("%41"), "escape");
    await t.kv.put(t.key("A"), "letter");
    equal([await t.kv.get(t.key("%41")), await t.kv.get(t.key("A"))], ["escape", "letter"]);
    equal(await t.names(), ["%41", "A"]);
  },

  "case matters": async (t) => {
    await t.kv.put(t.key("Key"), "upper");
    equal(await t.kv.get(t.key("key")), null);
    await t.kv.put(t.key("key"), "lower");
    equal([await t.kv.get(t.key("Key")), await t.kv.get(t.key("key"))], ["upper", "lower"]);
  },

  "composed and decomposed forms are different keys": async (t) => {
    await t.kv.put(t.key("\u00e9"), "composed");
    await t.kv.put(t.key("e\u0301"), "decomposed");
    equal(await t.kv.get(t.key("\u00e9")), "composed");
    equal(await t.kv.get(t.key("e\u0301")), "decomposed");
  },

  "paths are not normalised": async (t) => {
    for (const name of ["a/b", "a//b", "a/./b", "a/x/../b", "a/b/"]) await t.kv.put(t.key(name), name);
    for (const name of ["a/b", "a//b", "a/./b", "a/x/../b", "a/b/"]) {
      equal(await t.kv.get(t.key(name)), name);
    }
    equal((await t.names()).length, 5);
  },

  "512 bytes are accepted": each("x".repeat(512 - "case-999/".length)),

  "exactly 512 bytes are accepted": async (t) => {
    await lives(t, "x".repeat(512));
    await lives(t, "é".repeat(256));
    await lives(t, "日".repeat(170) + "ab");
    await lives(t, "😀".repeat(128));
    await lives(t, "\0".repeat(512));
  },

  "513 bytes are rejected": async (t) => {
    const text = (op) => `KV ${op} failed: 414 UTF-8 encoded length of 513 exceeds key length limit of 512.`;
    const key = "x".repeat(513);
    await fails(() => t.kv.get(key), text("GET"));
    await fails(() => t.kv.put(key, "1"), text("PUT"));
    await fails(() => t.kv.delete(key), text("DELETE"));
  },

  "an empty key is a TypeError": async (t) => {
    const text = "Key name cannot be empty.";
    await fails(() => t.kv.get(""), text, TypeError);
    await fails(() => t.kv.put("", "1"), text, TypeError);
    await fails(() => t.kv.delete(""), text, TypeError);
  },

  "dot and dot-dot are TypeErrors": async (t) => {
    for (const key of [".", ".."]) {
      const text = `"${key}" is not allowed as a key name.`;
      await fails(() => t.kv.get(key), text, TypeError);
      await fails(() => t.kv.put(key, "1"), text, TypeError);
    }
  },

  "a lone surrogate is rejected": async (t) => {
    const text = (op) => `KV ${op} failed: 400 Could not URL-decode key name`;
    await fails(() => t.kv.get("\ud800"), text("GET"));
    await fails(() => t.kv.put("a\udc00", "1"), text("PUT"));
    await fails(() => t.kv.delete("\ud800x"), text("DELETE"));
  },
};
