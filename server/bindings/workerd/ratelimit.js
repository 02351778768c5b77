// The Rate Limiting binding of Workers, over a Waypost server: `env.MY_RATE_LIMITER.limit({ key })`.
//
// A module for a wrapped binding of workerd; ratelimit.capnp beside it shows how one is made. Its
// inner bindings:
//
// | name        |                                                                          |
// |-------------|--------------------------------------------------------------------------|
// | `fetcher`   | a service: the server                                                    |
// | `namespace` | where the counters are; bindings with the same one share them            |
// | `limit`     | how many hits of a key are let through in a period                       |
// | `period`    | in seconds, or a text such as "10m"                                      |
// | `algorithm` | "sliding", "fixed" or "gcra"; the server's default if it is left out     |
// | `burst`     | with "gcra": how many hits may come at once; `limit` if it is left out   |
// | `name`      | a limit of the server's configuration: the five above can be left out    |
// | `onError`   | what a call does without a decision: "throw" (the default) or "allow"    |
// | `timeout`   | the milliseconds that a call waits for one: 5000; 0 is for ever          |
// | `path`      | where the server takes the question: "/ratelimit"                        |
//
// Any other is refused: a mistyped one would be one that is left out.
//
// `limit` answers as Cloudflare's does, { success }, and with it what else the server says: limit,
// remaining, reset. What it throws for wrong options has the texts of miniflare.
//
// Without a decision is a call that reaches no server, or gets a 5xx or nothing in its time. A 4xx
// throws in any case: the server runs, and the question stays wrong until somebody mends it.
//
// `delta` is never let through in part: a call that would go past the limit is denied. (Cloudflare's
// passes if one hit would.)

const INNER_BINDINGS = [
  "fetcher",
  "namespace",
  "limit",
  "period",
  "algorithm",
  "burst",
  "name",
  "onError",
  "timeout",
  "path",
];
const OPTIONS = ["key", "limit", "period", "delta"];
/** The periods that Cloudflare has. A call can name these, and the one of its binding. */
const PERIODS = [10, 60];
const MAX_DELTA = 0xffff_ffff;
/** The server takes no longer key, in bytes of UTF-8; of a longer one its hash is the key. */
const MAX_KEY_BYTES = 4096;

export default function ratelimit(env) {
  return new RateLimit(env);
}

class RateLimit {
  #fetcher;
  #url;
  #what;
  #allows;
  #timeout;
  #isFailing = false;

  constructor(env) {
    const unknown = Object.keys(env).filter((name) => !INNER_BINDINGS.includes(name));
    const known = INNER_BINDINGS.join(", ");
    check(
      unknown.length === 0,
      `waypost:ratelimit: unknown inner bindings: [${unknown.join(",")}]; the known ones are ${known}`,
    );
    const { fetcher, path = "/ratelimit", onError = "throw", timeout = 5000 } = env;
    configured(typeof fetcher?.fetch === "function", "fetcher", "a service", fetcher);
    configured(typeof path === "string" && path.startsWith("/"), "path", "a path", path);
    configured(["throw", "allow"].includes(onError), "onError", '"throw" or "allow"', onError);
    configured(Number.isFinite(timeout) && timeout >= 0, "timeout", "in milliseconds", timeout);
    this.#fetcher = fetcher;
    // The name is for nobody: the service decides where the request goes.
    this.#url = `http://waypost${path}`;
    this.#allows = onError === "allow";
    this.#timeout = timeout;
    this.#what = what(env);
  }

  /** Counts a hit of a key, or more by `delta`; gives whether it is let through. */
  async limit(options) {
    const question = await this.#question(options);
    let decision;
    try {
      decision = await this.#ask(question);
    } catch (error) {
      if (error instanceof Refusal || !this.#allows) {
        throw new Error(`Rate limit failed: ${error.message}`, { cause: error });
      }
      this.#tell(error.message);
      return { success: true };
    }
    this.#isFailing = false;
    return decision;
  }

  /** The options, checked in miniflare's order, as the server takes them. */
  async #question(options) {
    check(typeof options === "object" && options !== null, "invalid rate limit options");
    const unknown = Object.keys(options).filter((name) => !OPTIONS.includes(name));
    check(unknown.length === 0, `bad rate limit options: [${unknown.join(",")}]`);
    const { key = "", limit, period, delta } = options;
    check(typeof key === "string", () => `invalid key: ${key}`);
    const question = { ...this.#what, key };
    if (limit !== undefined) {
      check(typeof limit === "number", () => `limit must be a number: ${limit}`);
      question.limit = whole(limit);
    }
    if (period !== undefined) {
      check(typeof period === "number", () => `period must be a number: ${period}`);
      const isSupported = PERIODS.includes(period) || period === this.#what.period;
      check(isSupported, `unsupported period: ${period}`);
      question.period = period;
    }
    if (delta !== undefined) question.cost = cost(delta);
    // No character takes more than three bytes for each of its code units.
    if (key.length * 3 > MAX_KEY_BYTES) question.key = await bounded(key);
    return question;
  }

  /** Asks the server; throws a `Refusal` if it will say no more to the same question. */
  async #ask(question) {
    const { response, text } = await this.#fetch(JSON.stringify(question));
    const answer = parse(text);
    if (!response.ok) {
      const why = `${response.status} ${answer?.error ?? response.statusText}`;
      throw response.status < 500 ? new Refusal(why) : new Error(why);
    }
    if (typeof answer?.success !== "boolean") {
      throw new Refusal("the service answers, but not as a Waypost server does");
    }
    return answer;
  }

  async #fetch(body) {
    try {
      const response = await this.#fetcher.fetch(this.#url, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body,
        redirect: "manual",
        signal: this.#timeout > 0 ? AbortSignal.timeout(this.#timeout) : undefined,
      });
      return { response, text: await response.text() };
    } catch (error) {
      const why = error.name === "TimeoutError" ? `in ${this.#timeout} ms` : `(${error.message})`;
      throw new Error(`no answer from the server ${why}`, { cause: error });
    }
  }

  /** Says once that calls are let through uncounted, until one is counted again. */
  #tell(why) {
    if (this.#isFailing) return;
    this.#isFailing = true;
    const { name, namespace } = this.#what;
    const which = JSON.stringify(name ?? namespace);
    console.warn(`rate limit ${which}: no decision, so calls are allowed: ${why}`);
  }
}

/** An answer that trying again won't change. */
class Refusal extends Error {}

/** What the server is told of the limit in every call. */
function what({ name, namespace, limit, period, algorithm, burst }) {
  const isNamed = name !== undefined;
  const left = (value) => isNamed && value === undefined;
  configured(!isNamed || typeof name === "string", "name", "a text", name);
  configured(left(namespace) || typeof namespace === "string", "namespace", "a text", namespace);
  configured(left(limit) || Number.isFinite(limit), "limit", "a number", limit);
  const isPeriod = left(period) || ["number", "string"].includes(typeof period);
  configured(isPeriod, "period", "a number of seconds", period);
  configured(burst === undefined || Number.isInteger(burst), "burst", "a whole number", burst);
  // What is not there is not in the JSON either.
  const count = left(limit) ? limit : whole(limit);
  return { name, namespace, limit: count, period, algorithm, burst };
}

/** With a limit of 1.5, a second hit finds 1 and is let through. */
function whole(limit) {
  check(Number.isFinite(limit), `limit must be a number: ${limit}`);
  return Math.max(Math.ceil(limit), 0);
}

/** As the runtime converts a number of this type. */
function cost(delta) {
  const number = Number(delta);
  const cannot = "The value cannot be converted because it is";
  if (!Number.isFinite(number)) throw new TypeError(`${cannot} not an integer.`);
  if (number < 0) {
    throw new TypeError(`${cannot} negative and this API expects a positive number.`);
  }
  if (number > MAX_DELTA) {
    throw new TypeError(`Value out of range. Must be less than or equal to ${MAX_DELTA}.`);
  }
  if (Math.trunc(number) === 0) throw new RangeError("delta must be non-zero");
  return Math.trunc(number);
}

/** The key, or its hash if the server would find it too long. */
async function bounded(key) {
  const bytes = new TextEncoder().encode(key);
  if (bytes.length <= MAX_KEY_BYTES) return key;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `sha256:${Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `message` may be a function: to show a value can throw by itself. */
function check(condition, message) {
  if (!condition) throw new Error(typeof message === "function" ? message() : message);
}

function configured(condition, name, expected, value) {
  const found = value === undefined ? "it is not there" : `it is ${JSON.stringify(value)}`;
  check(condition, `waypost:ratelimit: the inner binding ${name} is to be ${expected}: ${found}`);
}
