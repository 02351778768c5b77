// A server that is stopped and started again under a running Worker. The test runs these by name, in
// this order, and does the rest between them.

import { equal, fails } from "../case.js";

export default {
  "it is up": async ({ env }) => {
    equal((await env.THROWS.limit({ key: "a" })).success, true);
    equal((await env.THROWS.limit({ key: "a" })).success, false);
    equal((await env.ALLOWS.limit({ key: "a" })).success, false);
  },

  "it is down": async ({ env }) => {
    await fails(() => env.THROWS.limit({ key: "a" }), /^Rate limit failed: no answer from the server \(.+\)$/);
    for (let i = 0; i < 3; i++) equal(await env.ALLOWS.limit({ key: "a" }), { success: true });
    // Wrong options are the caller's, with or without a server.
    await fails(() => env.ALLOWS.limit({ key: 5 }), "invalid key: 5");
  },

  "it is up again and has forgotten nothing": async ({ env }) => {
    equal((await env.THROWS.limit({ key: "a" })).success, false);
    equal((await env.ALLOWS.limit({ key: "a" })).success, false);
    equal((await env.ALLOWS.limit({ key: "b" })).success, true);
  },
};
