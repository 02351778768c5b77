// The bindings of rate limits that the cases use, as options of @waypost/bindings. waypost.capnp
// has the same for plain workerd.

module.exports = (server, silent) => ({
  // In the form of Cloudflare's configuration.
  LIMITER: { server, namespace_id: "1001", simple: { limit: 3, period: 60 } },
  SAME: { server, namespace: "1001", limit: 5, period: 60 },
  OTHER: { server, namespace: "1002", limit: 3, period: 60 },
  EMPTY: { server, namespace: "empty", limit: 2, period: 86400 },
  DAY: { server, namespace: "1001", limit: 50, period: 86400 },
  DAY_AS_TEXT: { server, namespace: "1001", limit: 50, period: "1d" },
  GCRA: { server, namespace: "1001", limit: 50, period: 86400, algorithm: "gcra" },
  BURST: { server, namespace: "burst", limit: 50, period: 86400, algorithm: "gcra", burst: 2 },
  NAMED: { server, name: "login" },
  UNKNOWN_NAME: { server, name: "unknown name" },
  WRONG_PATH: { server, limit: 1, period: 60, path: "/nothing", onError: "allow" },
  WRONG_PERIOD: { server, limit: 1, period: "soon", onError: "allow" },
  THROWS: { server, namespace: "down", limit: 1, period: 86400, onError: "throw" },
  ALLOWS: { server, namespace: "down", limit: 1, period: 86400, onError: "allow" },
  SILENT_THROWS: { server: silent, limit: 1, period: 60, timeout: 100 },
  SILENT_ALLOWS: { server: silent, limit: 1, period: 60, timeout: 100, onError: "allow" },
});
