// Keys of rate limits: any JavaScript string is a key, and no two strings share a counter.

import { equal, show } from "../case.js";

/** Each key has its own counter, which allows exactly one call. */
const apart = (...keys) => async (t) => {
  const limit = async (key) => (await t.limiter.limit({ key, limit: 1 })).success;
  for (const key of keys) equal(await limit(t.prefix + key), true, `first of ${show(key)}`);
  for (const key of keys) equal(await limit(t.prefix + key), false, `second of ${show(key)}`);
};

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => String.fromCharCode(from + i));

export default {
  "every ASCII character": apart(...range(0x00, 0x7f)),
  "the empty key and NUL": apart("", "\0", "\0\0", "a\0", "\0a"),
  "characters that JSON escapes": apart('"', "\\", "\\\\", "\n", "\r\n", "\t", "\u007f", "\\u0041", "\\n"),
  "escapes of URLs": apart("%", "%41", "A", "+", " ", "%20", "a&b=c", "?", "#", "/", "//"),
  "scripts": apart("日本語", "العربية", "ไทย", "Ελληνικά", "é", "e\u0301"),
  "emoji": apart("😀", "👩‍👩‍👧", "🇳🇿", "\u{10ffff}"),
  "case, and spaces around": apart("key", "Key", "KEY", " key", "key "),
  "separators and marks": apart("\u2028", "\u2029", "\ufeff", "\u200b", "\u00a0"),
  "lone surrogates": apart("\ud800", "\udbff", "\udc00", "\udfff", "\ufffd", "\ud800a", "\udc00\ud800"),
  "names of JavaScript": apart("__proto__", "constructor", "toString", "null", "undefined", "0", "-1"),
  "4 KiB": apart("x".repeat(4000), "x".repeat(4001), "\0".repeat(4000), "😀".repeat(1000)),

  "the longest key that the server accepts, and one byte more": async (t) => {
    for (const character of ["x", "é", "😀", "\0", '"']) {
      const length = 4096 / new TextEncoder().encode(character).length;
      for (const key of [character.repeat(length), `${character.repeat(length)}y`]) {
        const calls = [];
        for (let i = 0; i < 2; i++) calls.push((await t.limiter.limit({ key, limit: 1 })).success);
        equal(calls, [true, false], `${key.length} of ${show(character)}`);
      }
    }
  },

  "very long ones": apart("x".repeat(100_000), `${"x".repeat(99_999)}y`, "日".repeat(100_000)),
};
