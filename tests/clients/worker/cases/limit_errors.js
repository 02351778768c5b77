// Bindings whose calls the server can't decide: the error reaches the Worker, whatever onError is.

import { equal, fails } from "../case.js";

export default {
  "a name that is not in the server's configuration": async (t) => {
    await fails(() => t.env.UNKNOWN_NAME.limit({ key: "a" }), /^Rate limit failed: 400 .*unknown name/);
  },

  "an invalid period": async (t) => {
    await fails(() => t.env.WRONG_PERIOD.limit({ key: "a" }), /^Rate limit failed: 400 .*soon/);
  },

  "a path that is not the API's": async (t) => {
    await fails(() => t.env.WRONG_PATH.limit({ key: "a" }), /^Rate limit failed: 404 /);
  },

  "a limit larger than the server can count": async (t) => {
    const call = () => t.limiter.limit({ key: t.key("a"), limit: 1e300 });
    await fails(call, /^Rate limit failed: 400 .*limit/);
  },

  "a server that does not respond in time counts as down": async (t) => {
    const { SILENT_ALLOWS, SILENT_THROWS } = t.env;
    const text = "Rate limit failed: no answer from the server in 100 ms";
    await fails(() => SILENT_THROWS.limit({ key: "a" }), text);
    equal(await SILENT_ALLOWS.limit({ key: "a" }), { success: true });
  },
};
