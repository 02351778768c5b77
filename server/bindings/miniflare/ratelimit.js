// A rate limit of the server as a binding.
//
// Options: those of ../workerd/ratelimit.js but its `fetcher`, and `server`; `namespace_id` and
// `simple: { limit, period }` as in a configuration for Cloudflare mean the same as `namespace`,
// `limit` and `period`.

import { readFileSync } from "node:fs";

import { external, known, refuse } from "./server.js";

const MODULE = "waypost:ratelimit";
const PASSED_ON = [
  "name",
  "namespace",
  "limit",
  "period",
  "algorithm",
  "burst",
  "onError",
  "timeout",
  "path",
];
const OPTIONS = ["server", "namespace_id", "simple", ...PASSED_ON];

export const binding = (it) => ({
  name: it.name,
  wrapped: {
    moduleName: MODULE,
    innerBindings: [{ name: "fetcher", service: { name: serviceName(it) } }, ...limit(it)],
  },
});

export const services = (it) => [{ name: serviceName(it), external: external(it) }];

export const extensions = () => {
  const esModule = readFileSync(new URL("../workerd/ratelimit.js", import.meta.url), "utf8");
  return [{ modules: [{ name: MODULE, esModule, internal: true }] }];
};

/** The inner bindings that say which limit it is. What is wrong with them, the module says. */
function limit({ name, type, options }) {
  // wrangler makes a binding of its own simulator, too, of an unsafe one of that type. Which of both
  // a Worker gets depends on the version: with miniflare 5, without a word, the simulator.
  if (type === "ratelimit") refuse(name, 'its type is to be another than "ratelimit"');
  known(name, options, OPTIONS);
  const { namespace_id, simple, ...others } = options;
  known(name, simple ?? {}, ["limit", "period"], "simple.");
  const all = { namespace: namespace_id, ...simple, ...others };
  // As in a configuration for Cloudflare without a namespace: the binding is one by itself.
  if (all.name === undefined) all.namespace ??= name;
  return PASSED_ON.filter((option) => all[option] !== undefined).map((option) => {
    return { name: option, json: JSON.stringify(all[option]) };
  });
}

function serviceName({ options }) {
  return `waypost-ratelimit:${options.server ?? ""}`;
}
