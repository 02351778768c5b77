// A server that is killed and restarted while its Worker keeps running. The test runs these cases
// by name, in this order, and kills and restarts the server between them.

import { equal, fails, noise } from "../case.js";

const large = noise(2_000_000, 5);

export default {
  "the server is up": async ({ kv }) => {
    await kv.put("small", "value", { metadata: { of: "small" }, expiration: 2000000000 });
    await kv.put("large", large, { metadata: { of: "large" } });
    await kv.put("gone", "value");
    await kv.delete("gone");
  },

  "the server is down": async ({ kv }) => {
    const lost = /connection|lost|refused|disconnected/i;
    await fails(() => kv.get("small"), lost);
    await fails(() => kv.put("small", "other"), lost);
    await fails(() => kv.list(), lost);
  },

  "the server is up again": async ({ kv }) => {
    const small = await kv.getWithMetadata("small");
    equal([small.value, small.metadata], ["value", { of: "small" }]);
    const got = await kv.getWithMetadata("large", "arrayBuffer");
    equal(new Uint8Array(got.value), large);
    equal(await kv.get("gone"), null);
    equal((await kv.list()).keys, [
      { name: "large", metadata: { of: "large" } },
      { name: "small", metadata: { of: "small" }, expiration: 2000000000 },
    ]);
    await kv.put("small", "new");
    equal(await kv.get("small"), "new");
  },
};
