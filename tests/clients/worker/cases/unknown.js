// A namespace that does not exist: every call fails with an error that shows how to create it.

import { fails } from "../case.js";

// `quoted` is the name, quoted for a shell.
export default (name, quoted) => {
  const text = (op, status) =>
    `KV ${op} failed: ${status} Unknown namespace ${name}. Make it with: waypost namespace create ${quoted}`;
  return {
    // A 404 would silently become null.
    "get is an error, not null": async (t) => {
      await fails(() => t.kv.get("a"), text("GET", 400));
      await fails(() => t.kv.getWithMetadata("a", "stream"), text("GET", 400));
    },
    "put": async (t) => {
      await fails(() => t.kv.put("a", "1"), text("PUT", 404));
      await fails(() => t.kv.put("a", new Uint8Array(1 << 20)), text("PUT", 404));
    },
    "delete": async (t) => fails(() => t.kv.delete("a"), text("DELETE", 404)),
    "list": async (t) => fails(() => t.kv.list(), text("GET", 404)),
    "bulk get": async (t) => fails(() => t.kv.get(["a"]), text("GET_BULK", 404)),
  };
};
