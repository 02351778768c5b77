// Streamed bodies, complete and cut.

import { collect, encode, equal, fails, noise, ok, sizedStream, sleep, stream } from "../case.js";

/** The value of the key, after the server has certainly handled a cut request. */
async function settled(t, name) {
  await sleep(100);
  return t.kv.get(t.key(name));
}

export default {
  "a stream of known length is stored": async (t) => {
    const bytes = noise(200_000);
    await t.kv.put(t.key("a"), sizedStream(bytes), { metadata: "m", expirationTtl: 600 });
    const got = await t.kv.getWithMetadata(t.key("a"), "arrayBuffer");
    equal(new Uint8Array(got.value), bytes);
    equal(got.metadata, "m");
    ok((await t.listed(t.key("a"))).expiration > 0, "the expiry is lost");
  },

  "a stream of unknown length is stored": async (t) => {
    const bytes = noise(200_000);
    await t.kv.put(t.key("a"), stream(bytes, 1000), { metadata: "m", expirationTtl: 600 });
    const got = await t.kv.getWithMetadata(t.key("a"), "arrayBuffer");
    equal(new Uint8Array(got.value), bytes);
    equal(got.metadata, "m");
    ok((await t.listed(t.key("a"))).expiration > 0, "the expiry is lost");
  },

  "an empty stream of known or unknown length is an empty value": async (t) => {
    await t.kv.put(t.key("a"), stream(new Uint8Array(0)));
    equal(await t.kv.get(t.key("a")), "");
    await t.kv.put(t.key("b"), sizedStream(new Uint8Array(0)));
    equal(await t.kv.get(t.key("b")), "");
  },

  "a stream of single bytes is stored": async (t) => {
    const bytes = noise(500);
    await t.kv.put(t.key("a"), stream(bytes, 1));
    equal(new Uint8Array(await t.kv.get(t.key("a"), "arrayBuffer")), bytes);
  },

  "a stream with pauses is stored": async (t) => {
    let left = 5;
    const body = new ReadableStream({
      async pull(controller) {
        await sleep(30);
        if (left-- === 0) return controller.close();
        controller.enqueue(encode(`part ${left},`));
      },
    });
    await t.kv.put(t.key("a"), body);
    equal(await t.kv.get(t.key("a")), "part 4,part 3,part 2,part 1,part 0,");
  },

  "25 MiB of unknown length are stored": async (t) => {
    const bytes = noise(26214400, 9);
    await t.kv.put(t.key("a"), stream(bytes, 100_000));
    equal(await collect(await t.kv.get(t.key("a"), "stream")), bytes);
  },

  "25 MiB of known length are stored": async (t) => {
    const bytes = noise(26214400, 10);
    await t.kv.put(t.key("a"), sizedStream(bytes));
    equal(await collect(await t.kv.get(t.key("a"), "stream")), bytes);
  },

  "a value is copied from key to key as a stream": async (t) => {
    const bytes = noise(3_000_000);
    await t.kv.put(t.key("a"), bytes);
    await t.kv.put(t.key("b"), await t.kv.get(t.key("a"), "stream"));
    equal(new Uint8Array(await t.kv.get(t.key("b"), "arrayBuffer")), bytes);
  },

  "a key is copied onto itself as a stream": async (t) => {
    const bytes = noise(3_000_000);
    await t.kv.put(t.key("a"), bytes);
    await t.kv.put(t.key("a"), await t.kv.get(t.key("a"), "stream"));
    equal(new Uint8Array(await t.kv.get(t.key("a"), "arrayBuffer")), bytes);
  },

  "a stream is read slowly": async (t) => {
    const bytes = noise(2_000_000);
    await t.kv.put(t.key("a"), bytes);
    const reader = (await t.kv.get(t.key("a"), "stream")).getReader();
    let length = 0;
    for (let i = 0; ; i++) {
      const { done, value } = await reader.read();
      if (done) break;
      length += value.byteLength;
      if (i % 20 === 0) await sleep(20);
    }
    equal(length, bytes.byteLength);
  },

  "a cut small body of known length stores nothing": async (t) => {
    const { readable, writable } = new FixedLengthStream(1000);
    const writer = writable.getWriter();
    const put = t.kv.put(t.key("a"), readable);
    writer.write(new Uint8Array(500)).catch(() => {});
    await sleep(50);
    writer.abort(new Error("cut")).catch(() => {});
    await fails(() => put, /./);
    equal(await settled(t, "a"), null);
  },

  "a cut large body of known length leaves the old value": async (t) => {
    await t.kv.put(t.key("a"), "old");
    const { readable, writable } = new FixedLengthStream(10_000_000);
    const writer = writable.getWriter();
    const put = t.kv.put(t.key("a"), readable);
    writer.write(new Uint8Array(1_000_000)).catch(() => {});
    await sleep(50);
    writer.abort(new Error("cut")).catch(() => {});
    await fails(() => put, /./);
    equal(await settled(t, "a"), "old");
  },

  "a failing body of unknown length is not stored as complete": async (t) => {
    await t.kv.put(t.key("a"), "old");
    let pieces = 3;
    const body = new ReadableStream({
      async pull(controller) {
        if (pieces-- > 0) return controller.enqueue(new Uint8Array(100_000));
        await sleep(50);
        controller.error(new Error("cut"));
      },
    });
    await fails(() => t.kv.put(t.key("a"), body), /./);
    const left = await settled(t, "a");
    // Runtimes before 2026-11 end such a body with a normal last chunk, so the server can't detect
    // the cut.
    if (left !== "old") {
      ok(t.version < "1.20261117.1", "a cut body was stored");
      equal(left.length, 300_000, "length of the cut body");
    }
  },

  "puts still work after cut ones": async (t) => {
    for (let i = 0; i < 5; i++) {
      const { readable, writable } = new FixedLengthStream(1_000_000);
      const writer = writable.getWriter();
      const put = t.kv.put(t.key("cut"), readable);
      writer.write(new Uint8Array(10_000)).catch(() => {});
      writer.abort(new Error("cut")).catch(() => {});
      await fails(() => put, /./);
      await t.kv.put(t.key("whole"), `${i}`);
      equal(await t.kv.get(t.key("whole")), `${i}`);
    }
    equal(await t.names(), ["whole"]);
  },
};
