# Plain workerd, connected to Waypost in every way that the README describes. The tests pass the
# addresses on the command line: --external-addr NAME=ADDR.

using Workerd = import "/workerd/workerd.capnp";
using RateLimit = import "../../server/bindings/workerd/ratelimit.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "front", worker = .front),

    # The namespace in a header, by its title and by its id.
    (name = "header", external = (
      http = (injectRequestHeaders = [(name = "Waypost-Namespace", value = "by-header")]))),
    (name = "id", external = (
      http = (injectRequestHeaders = [
        (name = "Waypost-Namespace", value = "00112233445566778899aabbccddeeff")]))),
    # The same with a token. It is that of ADMIN_TOKEN in tests/it/main.rs.
    (name = "token", external = (
      http = (injectRequestHeaders = [
        (name = "Waypost-Namespace", value = "by-header"),
        (name = "Authorization", value = "Bearer wpt_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbxxbh7dua")]))),
    # The namespace in the path, which needs a Worker in front.
    (name = "server", external = (http = ())),
    # A namespace that does not exist.
    (name = "unknown", external = (
      http = (injectRequestHeaders = [(name = "Waypost-Namespace", value = "no such namespace")]))),
    # A namespace whose entries expire soon.
    (name = "expiring", external = (
      http = (injectRequestHeaders = [(name = "Waypost-Namespace", value = "expiring")]))),
    # The server for rate limits, and one that accepts connections and never responds.
    (name = "limits", external = (http = ())),
    (name = "silent", external = (http = ())),
  ],
  extensions = [RateLimit.extension],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const main :Workerd.Worker = (
  compatibilityDate = "2026-01-01",
  modules = [
    (name = "main.js", esModule = embed "worker/main.js"),
    (name = "case.js", esModule = embed "worker/case.js"),
    (name = "cases/bulk.js", esModule = embed "worker/cases/bulk.js"),
    (name = "cases/concurrency.js", esModule = embed "worker/cases/concurrency.js"),
    (name = "cases/delete.js", esModule = embed "worker/cases/delete.js"),
    (name = "cases/elsewhere.js", esModule = embed "worker/cases/elsewhere.js"),
    (name = "cases/expiring.js", esModule = embed "worker/cases/expiring.js"),
    (name = "cases/expiry.js", esModule = embed "worker/cases/expiry.js"),
    (name = "cases/get.js", esModule = embed "worker/cases/get.js"),
    (name = "cases/keys.js", esModule = embed "worker/cases/keys.js"),
    (name = "cases/limit_delta.js", esModule = embed "worker/cases/limit_delta.js"),
    (name = "cases/limit_down.js", esModule = embed "worker/cases/limit_down.js"),
    (name = "cases/limit_keys.js", esModule = embed "worker/cases/limit_keys.js"),
    (name = "cases/limit_options.js", esModule = embed "worker/cases/limit_options.js"),
    (name = "cases/limit_errors.js", esModule = embed "worker/cases/limit_errors.js"),
    (name = "cases/limits.js", esModule = embed "worker/cases/limits.js"),
    (name = "cases/list.js", esModule = embed "worker/cases/list.js"),
    (name = "cases/metadata.js", esModule = embed "worker/cases/metadata.js"),
    (name = "cases/paging.js", esModule = embed "worker/cases/paging.js"),
    (name = "cases/put.js", esModule = embed "worker/cases/put.js"),
    (name = "cases/restart.js", esModule = embed "worker/cases/restart.js"),
    (name = "cases/streams.js", esModule = embed "worker/cases/streams.js"),
    (name = "cases/token.js", esModule = embed "worker/cases/token.js"),
    (name = "cases/unknown.js", esModule = embed "worker/cases/unknown.js"),
    (name = "cases/values.js", esModule = embed "worker/cases/values.js"),
  ],
  bindings = [
    (name = "RUNTIME_VERSION", fromEnvironment = "RUNTIME_VERSION"),
    (name = "HEADER", kvNamespace = "header"),
    (name = "ELSEWHERE", kvNamespace = "header"),
    (name = "ID", kvNamespace = "id"),
    (name = "RESTART", kvNamespace = "id"),
    (name = "PATH", kvNamespace = (name = "front", props = (json = "{\"namespace\":\"by path/ü\"}"))),
    (name = "TOKEN", kvNamespace = "token"),
    (name = "NO_TOKEN", kvNamespace = "header"),
    (name = "UNKNOWN", kvNamespace = "unknown"),
    (name = "UNKNOWN_PATH", kvNamespace = (name = "front", props = (json = "{\"namespace\":\"nope\"}"))),
    (name = "EXPIRING", kvNamespace = "expiring"),
    # Rate limits: cases/limits.js explains why their periods are days. clients/limits.cjs has the
    # same for miniflare.
    (name = "LIMITER", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"1001\""),
      (name = "limit", json = "3"), (name = "period", json = "60")])),
    (name = "SAME", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"1001\""),
      (name = "limit", json = "5"), (name = "period", json = "60")])),
    (name = "OTHER", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"1002\""),
      (name = "limit", json = "3"), (name = "period", json = "60")])),
    (name = "EMPTY", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"empty\""),
      (name = "limit", json = "2"), (name = "period", json = "86400")])),
    (name = "DAY", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"1001\""),
      (name = "limit", json = "50"), (name = "period", json = "86400")])),
    (name = "DAY_AS_TEXT", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"1001\""),
      (name = "limit", json = "50"), (name = "period", json = "\"1d\"")])),
    (name = "GCRA", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"1001\""),
      (name = "limit", json = "50"), (name = "period", json = "86400"),
      (name = "algorithm", json = "\"gcra\"")])),
    (name = "BURST", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"burst\""),
      (name = "limit", json = "50"), (name = "period", json = "86400"),
      (name = "algorithm", json = "\"gcra\""), (name = "burst", json = "2")])),
    (name = "NAMED", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "name", json = "\"login\"")])),
    (name = "UNKNOWN_NAME", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "name", json = "\"unknown name\"")])),
    (name = "WRONG_PATH", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"1001\""),
      (name = "limit", json = "1"), (name = "period", json = "60"),
      (name = "path", json = "\"/nothing\""), (name = "onError", json = "\"allow\"")])),
    (name = "WRONG_PERIOD", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"1001\""),
      (name = "limit", json = "1"), (name = "period", json = "\"soon\""),
      (name = "onError", json = "\"allow\"")])),
    (name = "THROWS", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"down\""),
      (name = "limit", json = "1"), (name = "period", json = "86400"),
      (name = "onError", json = "\"throw\"")])),
    (name = "ALLOWS", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"down\""),
      (name = "limit", json = "1"), (name = "period", json = "86400"),
      (name = "onError", json = "\"allow\"")])),
    (name = "SILENT_THROWS", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "silent"), (name = "namespace", json = "\"silent\""),
      (name = "limit", json = "1"), (name = "period", json = "60"),
      (name = "timeout", json = "100")])),
    (name = "SILENT_ALLOWS", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "silent"), (name = "namespace", json = "\"silent\""),
      (name = "limit", json = "1"), (name = "period", json = "60"),
      (name = "timeout", json = "100"), (name = "onError", json = "\"allow\"")])),
  ],
);

const front :Workerd.Worker = (
  compatibilityDate = "2026-01-01",
  modules = [(name = "front.js", esModule = embed "worker/front.js")],
  bindings = [(name = "SERVER", service = "server")],
);
