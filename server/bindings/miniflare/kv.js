// A KV namespace of the server as a binding.
//
// Options: `namespace`, its title or id (or `namespace_id`, as Cloudflare calls it), and `server`.

import { external, known, refuse } from "./server.js";

const OPTIONS = ["server", "namespace", "namespace_id"];

export const binding = (it) => ({ name: it.name, kvNamespace: { name: serviceName(it) } });

export const services = (it) => {
  const header = { name: "Waypost-Namespace", value: namespace(it) };
  return [{ name: serviceName(it), external: external(it, { injectRequestHeaders: [header] }) }];
};

export const extensions = () => [];

function namespace({ name, options }) {
  known(name, options, OPTIONS);
  const namespace = options.namespace ?? options.namespace_id;
  if (typeof namespace !== "string" || namespace === "") {
    refuse(name, 'the option "namespace" is the title or the id of a namespace');
  }
  return namespace;
}

/** Bindings of one namespace share a service. */
function serviceName(it) {
  return `waypost-kv:${it.options.server ?? ""}:${namespace(it)}`;
}
