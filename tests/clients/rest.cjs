// Calls of Workers KV through the clients of npm that speak Cloudflare's API, each read back.
//
//   node rest.cjs PACKAGE SERVER_URL    PACKAGE: cloudflare, cloudflare-4 or unstorage
//
// It prints the name of each case that passed, and ends with 1 if one failed.
const assert = require("node:assert/strict");
const { createRequire } = require("node:module");
const [name, server] = process.argv.slice(2);
const load = createRequire(`${process.cwd()}/`);

const AWKWARD = ["plain", "dir/leaf", "100%", "%2F", "a b+c", "q?x=1#y", "ü/\u{1f600}", "a:b@c!$&'()*,;=", "..a", "keys"];
const BINARY = Buffer.from(Array.from({ length: 70000 }, (_, at) => (at * 7) % 256));
const kv = { account_id: "local" };

const cases = {
  cloudflare() {
    const { default: Cloudflare, toFile } = load("cloudflare");
    const client = new Cloudflare({ apiToken: "wpt_any", baseURL: `${server}/client/v4`, maxRetries: 0 });
    return sdk(client, Cloudflare, toFile, "new");
  },
  "cloudflare-4"() {
    const { default: Cloudflare, toFile } = load("cloudflare-4");
    const client = new Cloudflare({ apiToken: "wpt_any", baseURL: `${server}/client/v4`, maxRetries: 0 });
    return sdk(client, Cloudflare, toFile, "old");
  },
  unstorage,
};

async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

// The status, the class and the number of the error that a call throws.
async function thrown(promise, Kind, status, code) {
  const error = await promise.then((value) => assert.fail(`it returned ${JSON.stringify(value)}`), (error) => error);
  assert.ok(error instanceof Kind, `${error}`);
  assert.equal(error.status, status);
  assert.equal(error.errors[0].code, code);
}

function sdk(client, Cloudflare, toFile, age) {
  const namespaces = client.kv.namespaces;
  // The older SDK takes the namespace first, and does not encode keys.
  const at = (id, key, more) =>
    age === "new" ? [key, { ...kv, namespace_id: id, ...more }] : [id, encodeURIComponent(key), { ...kv, ...more }];
  const values = async (id, key) => {
    const response = await namespaces.values.get(...at(id, key));
    return Buffer.from(await response.arrayBuffer());
  };
  const put = (id, key, more) => namespaces.values.update(...at(id, key, more));
  let id;
  return {
    async "a namespace is created, shown, renamed and listed"() {
      const made = await namespaces.create({ ...kv, title: `sdk ${age}` });
      id = made.id;
      assert.deepEqual(await namespaces.get(id, kv), made);
      const renamed = await namespaces.update(id, { ...kv, title: `sdk ${age} renamed` });
      if (age === "new") assert.equal(renamed.title, `sdk ${age} renamed`);
      const listed = await all(namespaces.list(kv));
      assert.ok(listed.some((one) => one.id === id));
      assert.ok((await all(client.accounts.list())).some((account) => account.id === "local"));
    },
    async "awkward keys are put, read and deleted"() {
      for (const key of AWKWARD) {
        await put(id, key, { value: `value of ${key}`, metadata: JSON.stringify({ key }) });
        assert.equal((await values(id, key)).toString(), `value of ${key}`, key);
        assert.deepEqual(await namespaces.metadata.get(...at(id, key)), { key });
      }
      const names = (await all(namespaces.keys.list(id, kv))).map((key) => key.name);
      assert.deepEqual(new Set(names), new Set(AWKWARD));
      for (const key of AWKWARD) await namespaces.values.delete(...at(id, key));
      assert.deepEqual(await all(namespaces.keys.list(id, kv)), []);
    },
    async "binary values are kept"() {
      await put(id, "binary", { value: await toFile(BINARY, "upload"), metadata: "{}" });
      assert.ok((await values(id, "binary")).equals(BINARY));
    },
    async "metadata as an object does not fail"() {
      await put(id, "object", { value: "v", metadata: { a: 1, b: { c: [1, 2] } } });
      assert.equal((await values(id, "object")).toString(), "v");
    },
    async "pages are followed to their end"() {
      const pairs = Array.from({ length: 45 }, (_, at) => ({ key: `page ${at + 10}`, value: `${at}` }));
      const put = await namespaces.bulkUpdate(id, { ...kv, body: pairs });
      assert.equal(put.successful_key_count, 45);
      const keys = await all(namespaces.keys.list(id, { ...kv, prefix: "page ", limit: 10 }));
      assert.deepEqual(keys.map((key) => key.name), pairs.map((pair) => pair.key));
    },
    async "bulk get and bulk delete"() {
      const got = await namespaces.bulkGet(id, { ...kv, keys: ["page 10", "none"], withMetadata: true });
      assert.deepEqual(got.values, { "page 10": { value: "0", metadata: null }, none: null });
      const deleted = await namespaces.bulkDelete(id, { ...kv, body: ["page 10", "page 11"] });
      assert.equal(deleted.successful_key_count, 2);
    },
    async "an expiration is shown"() {
      await put(id, "expiring", { value: "v", expiration_ttl: 120 });
      const [key] = await all(namespaces.keys.list(id, { ...kv, prefix: "expiring" }));
      assert.ok(key.expiration > Date.now() / 1000);
    },
    async "failures have their classes and numbers"() {
      const absent = "00112233445566778899aabbccddeeff";
      await thrown(namespaces.values.get(...at(id, "none")), Cloudflare.NotFoundError, 404, 10009);
      await thrown(namespaces.get(absent, kv), Cloudflare.NotFoundError, 404, 10013);
      await thrown(namespaces.get("no-id", kv), Cloudflare.BadRequestError, 400, 10011);
      await thrown(namespaces.create({ ...kv, title: `sdk ${age} renamed` }), Cloudflare.BadRequestError, 400, 10014);
      await thrown(put(id, "k", { value: "v", expiration_ttl: 30 }), Cloudflare.BadRequestError, 400, 10034);
      await thrown(put(id, "k", { value: "v", metadata: "{" }), Cloudflare.BadRequestError, 400, 10047);
      await thrown(namespaces.list({ account_id: "other" })._thenUnwrap((page) => page), Cloudflare.NotFoundError, 404, 7003);
    },
    async "the namespace is removed"() {
      await namespaces.delete(id, kv);
      await thrown(namespaces.get(id, kv), Cloudflare.NotFoundError, 404, 10013);
    },
  };
}

function unstorage() {
  let storage, id;
  return {
    async "items are set, read, listed and cleared"() {
      const { createStorage } = await import(load.resolve("unstorage").replace(/\.cjs$/, ".mjs"));
      const { default: driver } = await import(load.resolve("unstorage/drivers/cloudflare-kv-http").replace(/\.cjs$/, ".mjs"));
      const made = await fetch(`${server}/client/v4/accounts/local/storage/kv/namespaces`, {
        method: "POST",
        body: JSON.stringify({ title: "unstorage" }),
      });
      id = (await made.json()).result.id;
      const options = { apiURL: server, accountId: "local", namespaceId: id, apiToken: "wpt_any" };
      storage = createStorage({ driver: driver(options) });
      await storage.setItem("a:text", "one");
      await storage.setItem("a:object", { n: [1, { ü: 2 }] }, { ttl: 120 });
      await storage.setItem("b", "two");
      assert.equal(await storage.getItem("a:text"), "one");
      assert.deepEqual(await storage.getItem("a:object"), { n: [1, { ü: 2 }] });
      assert.equal(await storage.getItem("none"), null);
      assert.equal(await storage.hasItem("b"), true);
      assert.equal(await storage.hasItem("none"), false);
      assert.deepEqual((await storage.getKeys()).sort(), ["a:object", "a:text", "b"]);
      assert.deepEqual((await storage.getKeys("a")).sort(), ["a:object", "a:text"]);
      await storage.removeItem("b");
      await storage.clear();
      assert.deepEqual(await storage.getKeys(), []);
    },
  };
}

(async () => {
  let failed = 0;
  for (const [name_, run] of Object.entries(cases[name]())) {
    try {
      await run();
      console.log(`ok: ${name_}`);
    } catch (error) {
      failed += 1;
      console.error(`FAILED: ${name_}: ${error.stack}`);
    }
  }
  process.exitCode = failed ? 1 : 0;
})();
