// Runs the Worker in miniflare, with its bindings connected to a server.
//
// node miniflare.cjs DIRECTORY-WITH-NODE-MODULES NAME proxy CONNECTION-STRING
// node miniflare.cjs DIRECTORY-WITH-NODE-MODULES NAME plugin SERVER SILENT-SERVER
// node miniflare.cjs DIRECTORY-WITH-NODE-MODULES NAME wrong KIND OPTIONS
//
// NAME is a miniflare in package.json. The bindings reach the server through miniflare's own remote proxy (KV
// only), or through the plugin of @waypost/bindings; `wrong` makes one binding with invalid options, in JSON.
// Prints {"port": N} when it is ready, and ends when its stdin closes.

const { createRequire } = require("node:module");
const fs = require("node:fs");
const path = require("node:path");
const limits = require("./limits.cjs");

const [directory, name, way, ...rest] = process.argv.slice(2);
const load = createRequire(path.join(directory, "package.json"));
// Version 5 takes the options of version 4 through a function.
const { Miniflare, convertV4MiniflareOptions = (options) => options } = load(name);
const workerd = createRequire(load.resolve(name))("workerd/package.json");

const root = path.join(__dirname, "worker");
const cases = fs.readdirSync(path.join(root, "cases")).map((name) => `cases/${name}`);
const modules = ["main.js", "case.js", ...cases].map((name) => ({
  type: "ESModule",
  path: path.join(root, name),
}));

const ways = {
  proxy: (connection) => ({
    kvNamespaces: { PROXY: { id: "any", remoteProxyConnectionString: new URL(connection) } },
  }),
  plugin: (server, silent) => ({
    unsafeBindings: [
      unsafe("waypost-kv", "PLUGIN", { server, namespace: "plugged in/ü" }),
      unsafe("waypost-kv", "UNKNOWN", { server, namespace: "no such namespace" }),
      ...Object.entries(limits(server, silent)).map(([name, options]) => {
        return unsafe("waypost-ratelimit", name, options);
      }),
    ],
    ratelimits: { SIMULATOR: { namespace_id: "any", simple: { limit: 3, period: 60 } } },
  }),
  wrong: (kind, options) => ({ unsafeBindings: [unsafe(kind, "WRONG", JSON.parse(options))] }),
};

function unsafe(kind, name, options) {
  return { name, type: kind, plugin: { package: "@waypost/bindings", name: kind }, options };
}

const options = {
  name: "cases",
  host: "127.0.0.1",
  port: 0,
  modulesRoot: root,
  modules,
  compatibilityDate: "2026-01-01",
  bindings: { RUNTIME_VERSION: workerd.version },
  ...ways[way](...rest),
};
const miniflare = new Miniflare(convertV4MiniflareOptions(options));

miniflare.ready.then(
  (url) => console.log(JSON.stringify({ port: Number(url.port) })),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);

// If this process were killed, miniflare's own child would keep running.
process.stdin.resume().on("end", () => miniflare.dispose().finally(() => process.exit(0)));
