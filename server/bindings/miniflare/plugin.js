// The shape that miniflare wants of a plugin, which differs between its versions 4 and 5.

/**
 * A plugin of miniflare.
 *
 * `kind` says what the bindings are made of: `binding(it)` and `services(it)` give workerd's
 * configuration for one of them, `extensions` those that all of them need.
 */
export function plugin(name, kind) {
  const bindings = (options) => of(name, options);
  return {
    options: anything,
    getBindings: (options) => bindings(options).map(kind.binding),
    getServices: ({ options }) => bindings(options).flatMap(kind.services),
    getExtensions: ({ options }) =>
      options.some((options) => bindings(options).length > 0) ? kind.extensions() : [],
    async getNodeBindings(options) {
      const all = bindings(options);
      if (all.length === 0) return {};
      const { ProxyNodeBinding } = await miniflare();
      return Object.fromEntries(all.map((it) => [it.name, new ProxyNodeBinding()]));
    },
  };
}

/** The bindings of one Worker that this plugin makes: [{ name, type, options }]. */
function of(plugin, options) {
  if (options === undefined) return [];
  // miniflare 4 gives those of the plugin.
  if (Array.isArray(options)) return options.map(({ name, type, options }) => ({ name, type, options }));
  // miniflare 5 gives all of the Worker.
  return Object.entries(options.config.env ?? {})
    .filter(([, binding]) => binding.dev?.plugin?.name === plugin)
    .map(([name, { type, dev, ...options }]) => {
      return { name, type: type.slice("unsafe:".length), options: { ...options, ...dev.options } };
    });
}

/** miniflare has a schema for the options of each plugin; `binding` and `services` check these. */
const anything = { parse: (value) => value, safeParse: (data) => ({ success: true, data }) };

/** The miniflare that runs: it knows its own classes only. */
async function miniflare() {
  try {
    const module = await import("miniflare");
    return module.ProxyNodeBinding === undefined ? module.default : module;
  } catch (error) {
    throw new Error(
      "@waypost/bindings: for getBindings and getPlatformProxy, install it beside miniflare, " +
        "not as a link: npm pack DIRECTORY, then npm install the archive",
      { cause: error },
    );
  }
}
