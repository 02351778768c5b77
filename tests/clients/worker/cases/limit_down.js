// A server that is stopped and restarted while its Worker keeps running. The test runs these cases
// by name, in this order, and stops and restarts the server between them.

import { equal, fails } from "../case.js";

export default {
  "the server is up": async ({ env }) => {
    equal((await env.THROWS.limit({ key: "a" })).success, true);
    equal((await env.THROWS.limit({ key: "a" })).success, false);
    equal((await env.ALLOWS.limit({ key: "a" })).success, false);
  },

  "the server is down": async ({ env }) => {
    await fails(() => env.THROWS.limit({ key: "a" }), /^Rate limit failed: no answer from the server \(.+\)$/);
    for (let i = 0; i < 3; i++) equal(await env.ALLOWS.limit({ key: "a" }), { success: true });
    // Wrong options are an error of the caller, with or without a server.
    await fails(() => env.ALLOWS.limit({ key: 5 }), "invalid key: 5");
  },

  "the server is up again and has kept its counts": async ({ env }) => {
    equal((await env.THROWS.limit({ key: "a" })).success, false);
    equal((await env.ALLOWS.limit({ key: "a" })).success, false);
    equal((await env.ALLOWS.limit({ key: "b" })).success, true);
  },
};
