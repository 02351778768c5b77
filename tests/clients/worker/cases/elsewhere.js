// Two locations with a Worker at each: one Worker reads what the other writes. The test runs these
// cases by name, in this order, on alternating Workers.

import { equal, noise, ok, sleep } from "../case.js";

const large = noise(150_000, 9);

/** Waits until the condition holds: a write of the other location takes some time to arrive. */
async function soon(what, read) {
  const deadline = Date.now() + 60_000;
  while (!(await read())) {
    ok(Date.now() < deadline, `${what}: not after a minute`);
    await sleep(10);
  }
}

export default {
  "the first Worker writes": async ({ kv }) => {
    await kv.put("large", large, { metadata: { of: "large" } });
    await kv.put("small", "value", { metadata: { of: "small" }, expiration: 2000000000 });
    await kv.put("to delete", "value");
  },

  "the second Worker reads and answers": async ({ kv }) => {
    await soon("the small one", async () => (await kv.get("small")) !== null);
    const small = await kv.getWithMetadata("small");
    equal([small.value, small.metadata], ["value", { of: "small" }]);
    await soon("the large one", async () => (await kv.get("large", "stream")) !== null);
    const got = await kv.getWithMetadata("large", "arrayBuffer");
    equal(new Uint8Array(got.value), large);
    equal(got.metadata, { of: "large" });
    await soon("the last one", async () => (await kv.get("to delete")) !== null);
    equal((await kv.list()).keys, [
      { name: "large", metadata: { of: "large" } },
      { name: "small", metadata: { of: "small" }, expiration: 2000000000 },
      { name: "to delete" },
    ]);
    await kv.put("small", "other");
    await kv.delete("to delete");
    await kv.put("answer", "done");
  },

  "the first Worker reads the answer": async ({ kv }) => {
    await soon("the put value", async () => (await kv.get("answer")) === "done");
    await soon("the overwritten value", async () => (await kv.get("small")) === "other");
    await soon("the deletion", async () => (await kv.get("to delete")) === null);
    equal((await kv.getWithMetadata("small")).metadata, null);
  },
};
