# A Worker that does not start: the name of one of its inner bindings is mistyped.

using Workerd = import "/workerd/workerd.capnp";
using RateLimit = import "../../server/bindings/workerd/ratelimit.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "limits", external = (address = "127.0.0.1:1", http = ())),
  ],
  extensions = [RateLimit.extension],
);

const main :Workerd.Worker = (
  compatibilityDate = "2026-01-01",
  modules = [(name = "main.js", esModule = "export default {};")],
  bindings = [
    (name = "LIMITER", wrapped = (moduleName = "waypost:ratelimit", innerBindings = [
      (name = "fetcher", service = "limits"), (name = "namespace", json = "\"1001\""),
      (name = "limit", json = "3"), (name = "period", json = "60"),
      (name = "onerror", json = "\"allow\"")])),
  ],
);
