// What miniflare and wrangler load: a plugin for each kind of binding, by its name.

import * as kv from "./kv.js";
import * as ratelimit from "./ratelimit.js";
import { plugin } from "./plugin.js";

export const plugins = {
  "waypost-kv": plugin("waypost-kv", kv),
  "waypost-ratelimit": plugin("waypost-ratelimit", ratelimit),
};
