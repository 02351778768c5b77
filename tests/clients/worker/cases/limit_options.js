// Invalid options of a call: the error texts and their precedence. They are miniflare's; its own
// simulator passes these cases, too.

import { equal, fails } from "../case.js";

/** Each call fails with its text. */
const rejects = (...calls) => async (t) => {
  for (const [options, text] of calls) await fails(() => t.limiter.limit(options), text);
};

export default {
  "options that are not an object": rejects(
    [undefined, "invalid rate limit options"],
    [null, "invalid rate limit options"],
    ["key", "invalid rate limit options"],
    [5, "invalid rate limit options"],
    [true, "invalid rate limit options"],
  ),
  "an unknown option": rejects(
    [{ key: "a", foo: 1 }, "bad rate limit options: [foo]"],
    [{ foo: 1, key: "a", bar: undefined }, "bad rate limit options: [foo,bar]"],
    [{ Key: "a" }, "bad rate limit options: [Key]"],
    [{ key: "a", cost: 1 }, "bad rate limit options: [cost]"],
  ),
  "a key that is not a string": rejects(
    [{ key: 5 }, "invalid key: 5"],
    [{ key: null }, "invalid key: null"],
    [{ key: ["a", "b"] }, "invalid key: a,b"],
    [{ key: {} }, "invalid key: [object Object]"],
  ),
  "a limit that is not a number": rejects(
    [{ key: "a", limit: "5" }, "limit must be a number: 5"],
    [{ key: "a", limit: null }, "limit must be a number: null"],
  ),
  "a period that is not a number": rejects(
    [{ key: "a", period: "60" }, "period must be a number: 60"],
    [{ key: "a", period: null }, "period must be a number: null"],
  ),
  "a period that Cloudflare does not support": rejects(
    [{ key: "a", period: 30 }, "unsupported period: 30"],
    [{ key: "a", period: 0 }, "unsupported period: 0"],
    [{ key: "a", period: -60 }, "unsupported period: -60"],
    [{ key: "a", period: NaN }, "unsupported period: NaN"],
  ),
  "the first error is reported": rejects(
    [{ key: 5, limit: "x", period: "y", foo: 1 }, "bad rate limit options: [foo]"],
    [{ key: 5, limit: "x", period: "y" }, "invalid key: 5"],
    [{ key: "a", limit: "x", period: "y" }, "limit must be a number: x"],
    [{ key: "a", limit: 1, period: "y" }, "period must be a number: y"],
  ),
  "undefined options are ignored": async (t) => {
    const options = { key: undefined, limit: undefined, period: undefined };
    equal(typeof (await t.limiter.limit(options)).success, "boolean");
  },
};
