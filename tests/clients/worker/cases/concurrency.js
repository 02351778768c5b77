// Many calls at once.

import { equal, fails, noise, ok, parallel } from "../case.js";

const numbers = (count) => Array.from({ length: count }, (_, i) => i);

export default {
  "200 puts to as many keys": async (t) => {
    await Promise.all(numbers(200).map((i) => t.kv.put(t.key(`k${i}`), `${i}`)));
    equal((await t.names()).length, 200);
    const values = await Promise.all(numbers(200).map((i) => t.kv.get(t.key(`k${i}`))));
    equal(values, numbers(200).map(String));
  },

  "100 puts to one key leave one of them whole": async (t) => {
    await Promise.all(
      numbers(100).map((i) => t.kv.put(t.key("a"), `${i}`.repeat(100), { metadata: i })),
    );
    const got = await t.kv.getWithMetadata(t.key("a"));
    equal(got.value, `${got.metadata}`.repeat(100), "value and metadata of one put");
  },

  "large and small puts to one key leave one of them whole": async (t) => {
    const bodies = numbers(12).map((i) => new Uint8Array(i % 2 ? 700_000 + i : 100).fill(i));
    await Promise.all(bodies.map((body, i) => t.kv.put(t.key("a"), body, { metadata: i })));
    const got = await t.kv.getWithMetadata(t.key("a"), "arrayBuffer");
    equal(new Uint8Array(got.value), bodies[got.metadata]);
  },

  "a sequential writer reads its own last write": async (t) => {
    await Promise.all(
      numbers(20).map(async (writer) => {
        for (const i of numbers(10)) {
          await t.kv.put(t.key(`w${writer}`), `${i}`);
          equal(await t.kv.get(t.key(`w${writer}`)), `${i}`, `writer ${writer}`);
        }
      }),
    );
  },

  "readers see only whole values while a writer writes": async (t) => {
    const bodies = [1, 2, 3].map((seed) => noise(300_000, seed));
    await t.kv.put(t.key("a"), bodies[0]);
    let writing = true;
    const reader = async () => {
      while (writing) {
        const got = new Uint8Array(await t.kv.get(t.key("a"), "arrayBuffer"));
        const whole = bodies.find((body) => body[0] === got[0]);
        ok(whole !== undefined, "the value of no writer");
        equal(got, whole);
      }
    };
    const writer = async () => {
      for (const i of numbers(15)) await t.kv.put(t.key("a"), bodies[i % 3]);
      writing = false;
    };
    await Promise.all([writer(), reader(), reader(), reader()]);
  },

  "concurrent puts and deletes of one key end in one of the two states": async (t) => {
    await Promise.all(
      numbers(60).map((i) => (i % 2 ? t.kv.put(t.key("a"), "v") : t.kv.delete(t.key("a")))),
    );
    const value = await t.kv.get(t.key("a"));
    ok(value === null || value === "v", `it holds ${value}`);
    equal(await t.names(), value === null ? [] : ["a"]);
  },

  "lists stay in order while keys are put and deleted": async (t) => {
    const churn = parallel(10, numbers(200), async (i) => {
      await t.kv.put(t.key(`k${i % 50}`), "v");
      if (i % 3 === 0) await t.kv.delete(t.key(`k${(i + 7) % 50}`));
    });
    for (const _ of numbers(10)) {
      const names = await t.names();
      equal(names, [...new Set(names)].sort());
    }
    await churn;
  },

  "six streams of 5 MB at once": async (t) => {
    const bodies = numbers(6).map((i) => noise(5_000_000, i + 1));
    await Promise.all(bodies.map((body, i) => t.kv.put(t.key(`k${i}`), body)));
    await Promise.all(
      bodies.map(async (body, i) => {
        equal(new Uint8Array(await t.kv.get(t.key(`k${i}`), "arrayBuffer")), body, `body ${i}`);
      }),
    );
  },

  "concurrent errors and successes are not mixed up": async (t) => {
    await Promise.all(
      numbers(40).map((i) =>
        i % 2
          ? t.kv.put(t.key(`k${i}`), "v")
          : fails(() => t.kv.put(t.key(`k${i}`), "v", { expirationTtl: i }), /^KV PUT failed: 400 /),
      ),
    );
    equal((await t.names()).length, 20);
  },
};
