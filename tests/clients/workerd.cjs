// Says where a workerd is and which version: {"program": "…", "version": "…"}.
//
// node workerd.cjs DIRECTORY-WITH-NODE-MODULES NAME
//
// NAME is that of a dependency in package.json. Where npm has a release for some systems only, there
// is one dependency for each of these, NAME-SYSTEM-PROCESSOR: the package workerd itself can't be
// locked then.

const { createRequire } = require("node:module");
const path = require("node:path");

const [directory, name] = process.argv.slice(2);
const load = createRequire(path.join(directory, "package.json"));

function find() {
  const own = `${name}-${process.platform}-${process.arch}`;
  try {
    const { version } = load(`${own}/package.json`);
    return { program: load.resolve(`${own}/bin/workerd`), version };
  } catch {
    return { program: load(name).default, version: load(`${name}/package.json`).version };
  }
}

console.log(JSON.stringify(find()));
