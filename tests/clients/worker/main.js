// The Worker under test: an ordinary Worker with bindings of KV and of rate limits, and the
// cases that use them.
//
// GET  /?binding=NAME              the names of the cases for this binding
// POST /?binding=NAME&case=NAME    runs one of them: {"ok": true} or {"error": "…"}

import { Case } from "./case.js";
import bulk from "./cases/bulk.js";
import concurrency from "./cases/concurrency.js";
import deletes from "./cases/delete.js";
import elsewhere from "./cases/elsewhere.js";
import expiring from "./cases/expiring.js";
import expiry from "./cases/expiry.js";
import gets from "./cases/get.js";
import keys from "./cases/keys.js";
import limitDown from "./cases/limit_down.js";
import limitKeys from "./cases/limit_keys.js";
import limitOptions from "./cases/limit_options.js";
import limitErrors from "./cases/limit_errors.js";
import limitDelta from "./cases/limit_delta.js";
import limits from "./cases/limits.js";
import lists from "./cases/list.js";
import metadata from "./cases/metadata.js";
import paging from "./cases/paging.js";
import puts from "./cases/put.js";
import restart from "./cases/restart.js";
import streams from "./cases/streams.js";
import token from "./cases/token.js";
import unknown from "./cases/unknown.js";
import values from "./cases/values.js";

/** The cases that every binding of a namespace passes. */
const common = flat({
  get: gets,
  put: puts,
  values,
  streams,
  metadata,
  expiry,
  delete: deletes,
  list: lists,
  paging,
  bulk,
  keys,
  concurrency,
});

/** Special bindings, with cases of their own. */
const special = {
  ELSEWHERE: flat({ elsewhere }),
  EXPIRING: flat({ expiring }),
  RESTART: flat({ restart }),
  LIMITER: flat({
    limits,
    "limit keys": limitKeys,
    "limit options": limitOptions,
    "limit delta": limitDelta,
    "limit errors": limitErrors,
  }),
  // miniflare's own simulator, from which the texts for wrong options are taken.
  SIMULATOR: flat({ "limit options": limitOptions }),
  THROWS: flat({ "limit down": limitDown }),
  NO_TOKEN: flat({ token }),
  UNKNOWN: flat({ unknown: unknown("no such namespace", "'no such namespace'") }),
  UNKNOWN_PATH: flat({ unknown: unknown("nope", "nope") }),
};

function flat(groups) {
  const cases = new Map();
  for (const [group, members] of Object.entries(groups)) {
    for (const [name, run] of Object.entries(members)) cases.set(`${group}: ${name}`, run);
  }
  return cases;
}

export default {
  async fetch(request, env) {
    const query = new URL(request.url).searchParams;
    const binding = query.get("binding");
    const cases = special[binding] ?? common;
    if (request.method === "GET") return Response.json([...cases.keys()]);
    const name = query.get("case");
    try {
      await cases.get(name)(new Case(env, binding));
      return Response.json({ ok: true });
    } catch (error) {
      return Response.json({ error: String(error?.stack ?? error) });
    }
  },
};
