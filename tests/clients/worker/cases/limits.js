// Rate limits: which calls pass, and which bindings share a counter.
//
// The window slides while the cases run, and no case may notice. Of a limit of 50 a day, the first
// request becomes available half an hour after midnight; of 3 a minute, 20 s after the minute.

import { equal, fails, ok } from "../case.js";

/** Makes this many calls, one after the other, and returns the result of each. */
async function calls(count, limiter, options) {
  const results = [];
  for (let i = 0; i < count; i++) results.push((await limiter.limit(options)).success);
  return results;
}

const passed = (answers) => answers.filter((answer) => answer.success).length;
const times = (count, call) => Promise.all(Array.from({ length: count }, (_, i) => call(i)));

export default {
  "as many calls as the limit pass, and the next does not": async (t) => {
    equal(await calls(5, t.limiter, { key: t.key("a") }), [true, true, true, false, false]);
  },

  "each key has its own counter": async (t) => {
    equal(await calls(4, t.limiter, { key: t.key("a") }), [true, true, true, false]);
    equal(await calls(4, t.limiter, { key: t.key("b") }), [true, true, true, false]);
  },

  "the result also has limit, remaining and reset": async (t) => {
    for (const remaining of [2, 1, 0, 0]) {
      const answer = await t.limiter.limit({ key: t.key("a") });
      equal([answer.limit, answer.remaining], [3, remaining], "limit and remaining");
      const { reset } = answer;
      ok(Number.isInteger(reset) && reset > 0 && reset <= 120, `reset is ${reset}`);
    }
  },

  "only a denied call has a retry_after": async (t) => {
    const [first, second] = [await t.limiter.limit({ key: t.key("a"), limit: 1 }),
      await t.limiter.limit({ key: t.key("a"), limit: 1 })];
    equal([first.success, first.retry_after], [true, undefined]);
    ok(!second.success && second.retry_after > 0 && second.retry_after <= 120, "retry_after is a time within the period");
  },

  "a missing key is the empty key": async (t) => {
    const { EMPTY } = t.env;
    equal((await EMPTY.limit({})).success, true);
    equal((await EMPTY.limit({ key: "" })).success, true);
    equal((await EMPTY.limit({ key: undefined })).success, false);
    equal((await EMPTY.limit({})).success, false);
  },

  "bindings of one namespace share counts, and each has its own limit": async (t) => {
    const { LIMITER, SAME } = t.env;
    const key = t.key("a");
    equal(await calls(4, LIMITER, { key }), [true, true, true, false]);
    equal(await calls(3, SAME, { key }), [true, true, false]);
    equal(await calls(1, LIMITER, { key }), [false]);
  },

  "a burst of the configured size passes at once": async (t) => {
    equal(await calls(4, t.env.BURST, { key: t.key("a") }), [true, true, false, false]);
  },

  "namespaces share nothing": async (t) => {
    const key = t.key("a");
    equal(await calls(4, t.limiter, { key }), [true, true, true, false]);
    equal(await calls(4, t.env.OTHER, { key }), [true, true, true, false]);
  },

  "periods share nothing": async (t) => {
    const key = t.key("a");
    equal(await calls(2, t.limiter, { key, limit: 1 }), [true, false]);
    equal(await calls(2, t.limiter, { key, limit: 1, period: 10 }), [true, false]);
    equal(await calls(2, t.env.DAY, { key, limit: 1 }), [true, false]);
  },

  "algorithms share nothing": async (t) => {
    const key = t.key("a");
    equal(await calls(2, t.env.DAY, { key, limit: 1 }), [true, false]);
    equal(await calls(2, t.env.GCRA, { key, limit: 1 }), [true, false]);
  },

  "a period as text equals the period in seconds": async (t) => {
    const key = t.key("a");
    equal(await calls(2, t.env.DAY, { key, limit: 2 }), [true, true]);
    equal(await calls(1, t.env.DAY_AS_TEXT, { key, limit: 2 }), [false]);
  },

  "the limit of a call overrides the binding's": async (t) => {
    const key = t.key("a");
    equal(await calls(2, t.limiter, { key, limit: 1 }), [true, false]);
    equal(await calls(3, t.limiter, { key, limit: 3 }), [true, true, false]);
    const { success, limit, remaining } = await t.limiter.limit({ key, limit: 9 });
    equal([success, limit, remaining], [true, 9, 5]);
  },

  "a limit of 0 or below denies every call": async (t) => {
    equal(await calls(1, t.limiter, { key: t.key("a"), limit: 0 }), [false]);
    equal(await calls(1, t.limiter, { key: t.key("a"), limit: -5 }), [false]);
  },

  "a fractional limit is rounded up": async (t) => {
    equal(await calls(3, t.limiter, { key: t.key("a"), limit: 1.5 }), [true, true, false]);
  },

  "a call can name the period of its binding, even an unsupported one": async (t) => {
    const key = t.key("a");
    equal(await calls(1, t.env.DAY, { key, limit: 1, period: 86400 }), [true]);
    equal(await calls(1, t.env.DAY, { key, limit: 1 }), [false]);
  },

  "a call that is denied is not counted": async (t) => {
    const key = t.key("a");
    equal(await calls(9, t.env.DAY, { key, limit: 2 }), [true, true, ...Array(7).fill(false)]);
    equal(await calls(2, t.env.DAY, { key, limit: 3 }), [true, false]);
  },

  "a call with wrong options is not counted": async (t) => {
    const key = t.key("a");
    for (let i = 0; i < 3; i++) {
      await fails(() => t.limiter.limit({ key, period: 30 }), "unsupported period: 30");
    }
    equal(await calls(2, t.limiter, { key, limit: 1 }), [true, false]);
  },

  "of 200 concurrent calls exactly 50 pass": async (t) => {
    const answers = await times(200, () => t.env.DAY.limit({ key: t.key("a") }));
    equal(passed(answers), 50);
  },

  "of concurrent calls by two bindings 50 pass in total": async (t) => {
    const both = [t.env.DAY, t.env.DAY_AS_TEXT];
    const answers = await times(200, (i) => both[i % 2].limit({ key: t.key("a") }));
    equal(passed(answers), 50);
  },

  "concurrent calls for many keys are counted per key": async (t) => {
    const key = (i) => t.key(`k${i % 20}`);
    const answers = await times(200, (i) => t.env.DAY.limit({ key: key(i), limit: 3 }));
    equal(passed(answers), 60);
  },

  "a limit in the server's configuration is found by its name": async (t) => {
    const key = t.key("a");
    const first = await t.env.NAMED.limit({ key });
    equal([first.success, first.limit, first.remaining], [true, 2, 1]);
    equal(await calls(2, t.env.NAMED, { key }), [true, false]);
    equal(await calls(1, t.env.NAMED, { key, limit: 3 }), [true]);
  },
};
