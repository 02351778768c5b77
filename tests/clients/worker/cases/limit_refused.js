// Bindings that the server can't answer: what is wrong reaches the Worker, whatever onError says.

import { equal, fails } from "../case.js";

export default {
  "a name that the server's configuration has not": async (t) => {
    await fails(() => t.env.UNKNOWN_NAME.limit({ key: "a" }), /^Rate limit failed: 400 .*nobody knows it/);
  },

  "a period that is none": async (t) => {
    await fails(() => t.env.WRONG_PERIOD.limit({ key: "a" }), /^Rate limit failed: 400 .*soon/);
  },

  "a path where the door is not": async (t) => {
    await fails(() => t.env.WRONG_PATH.limit({ key: "a" }), /^Rate limit failed: 404 /);
  },

  "a limit larger than the server can count": async (t) => {
    const call = () => t.limiter.limit({ key: t.key("a"), limit: 1e300 });
    await fails(call, /^Rate limit failed: 400 .*limit/);
  },

  "a server that says nothing in time is one that is not there": async (t) => {
    const { SILENT_ALLOWS, SILENT_THROWS } = t.env;
    const text = "Rate limit failed: no answer from the server in 100 ms";
    await fails(() => SILENT_THROWS.limit({ key: "a" }), text);
    equal(await SILENT_ALLOWS.limit({ key: "a" }), { success: true });
  },
};
