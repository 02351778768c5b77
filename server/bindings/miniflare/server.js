// Where the server is, and what is told of options that make no sense.

/** Fails with a sentence about a binding. */
export function refuse(binding, sentence) {
  throw new Error(`@waypost/bindings: binding ${binding}: ${sentence}`);
}

/** Fails if there are options that nobody knows: a mistyped one would be one that is left out. */
export function known(binding, options, names, prefix = "") {
  const unknown = Object.keys(options).filter((name) => !names.includes(name));
  if (unknown.length === 0) return;
  const list = (names) => names.map((name) => prefix + name).join(", ");
  refuse(binding, `unknown options: [${list(unknown)}]; the known ones are ${list(names)}`);
}

/**
 * The server of a binding as workerd's configuration has it: the option `server`, which is
 * http://HOST:PORT, https://HOST:PORT or unix:PATH.
 */
export function external({ name, options }, http = {}) {
  const { server = "http://127.0.0.1:8420" } = options;
  const wrong = 'the option "server" is http://HOST:PORT, https://HOST:PORT or unix:PATH';
  if (typeof server !== "string") refuse(name, wrong);
  if (/^unix:./.test(server)) return { address: server, http };
  if (!URL.canParse(server)) refuse(name, wrong);
  const { protocol, host, hostname, port, pathname, search, hash } = new URL(server);
  if (host === "" || pathname !== "/" || search !== "" || hash !== "") refuse(name, wrong);
  if (protocol === "http:") return { address: `${hostname}:${port || 80}`, http };
  if (protocol !== "https:") refuse(name, wrong);
  const tlsOptions = { trustBrowserCas: true };
  const https = { options: http, tlsOptions, certificateHost: hostname };
  return { address: `${hostname}:${port || 443}`, https };
}
