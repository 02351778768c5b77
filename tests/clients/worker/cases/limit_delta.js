// delta: a call that costs more than one.

import { equal, fails } from "../case.js";

export default {
  "a call costs its delta": async (t) => {
    const { DAY } = t.env;
    const key = t.key("a");
    const { success, remaining } = await DAY.limit({ key, limit: 10, delta: 4 });
    equal([success, remaining], [true, 6]);
    equal((await DAY.limit({ key, limit: 10, delta: 6 })).remaining, 0);
    equal((await DAY.limit({ key, limit: 10 })).success, false);
  },

  "a call that would exceed the limit is denied and not counted": async (t) => {
    const { DAY } = t.env;
    const key = t.key("a");
    equal((await DAY.limit({ key, limit: 10, delta: 7 })).success, true);
    equal((await DAY.limit({ key, limit: 10, delta: 4 })).success, false);
    equal((await DAY.limit({ key, limit: 10, delta: 3 })).success, true);
    equal((await DAY.limit({ key: t.key("b"), limit: 10, delta: 11 })).success, false);
  },

  "a fraction is truncated": async (t) => {
    const { remaining } = await t.env.DAY.limit({ key: t.key("a"), limit: 10, delta: 2.9 });
    equal(remaining, 8);
  },

  "a delta that is not a positive integer is an error": async (t) => {
    const call = (delta) => () => t.limiter.limit({ key: t.key("a"), delta });
    const cannot = "The value cannot be converted because it is";
    const negative = `${cannot} negative and this API expects a positive number.`;
    await fails(call("x"), `${cannot} not an integer.`, TypeError);
    await fails(call(Infinity), `${cannot} not an integer.`, TypeError);
    await fails(call(-1), negative, TypeError);
    const large = "Value out of range. Must be less than or equal to 4294967295.";
    await fails(call(2 ** 32), large, TypeError);
    for (const zero of [0, 0.9, null]) await fails(call(zero), "delta must be non-zero", RangeError);
  },
};
