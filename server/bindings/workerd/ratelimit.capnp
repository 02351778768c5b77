# The Rate Limiting binding for plain workerd. With this file and ratelimit.js beside your config:
#
#   using RateLimit = import "ratelimit.capnp";
#
#   const config :Workerd.Config = (
#     services = [
#       …
#       (name = "ratelimit", external = (address = "127.0.0.1:8420", http = ())),
#     ],
#     extensions = [RateLimit.extension],
#     …
#   );
#
# and among the bindings of a Worker:
#
#   (name = "MY_RATE_LIMITER", wrapped = (
#     moduleName = "waypost:ratelimit",
#     innerBindings = [
#       (name = "fetcher", service = "ratelimit"),
#       (name = "namespace", json = "\"1001\""),
#       (name = "limit", json = "100"),
#       (name = "period", json = "60")])),
#
# ratelimit.js has the list of all inner bindings.

using Workerd = import "/workerd/workerd.capnp";

const extension :Workerd.Extension = (
  modules = [(name = "waypost:ratelimit", internal = true, esModule = embed "ratelimit.js")],
);
