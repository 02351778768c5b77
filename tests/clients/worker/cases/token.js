// A server that needs a token, and a binding that sends none.

import { fails } from "../case.js";

const refused = /401.*needs a token/;

export default {
  "a get is an error and not a null": async ({ kv }) => {
    await fails(() => kv.get("key"), refused);
  },

  "nothing is written": async ({ kv }) => {
    await fails(() => kv.put("key", "value"), refused);
    await fails(() => kv.put("large", new Uint8Array(2_000_000)), refused);
    await fails(() => kv.delete("key"), refused);
  },

  "nothing is listed": async ({ kv }) => {
    await fails(() => kv.list(), refused);
  },
};
