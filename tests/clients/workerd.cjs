// Prints the path and the version of a workerd: {"program": "…", "version": "…"}.
//
// node workerd.cjs DIRECTORY-WITH-NODE-MODULES NAME
//
// NAME is a dependency in package.json. If npm has a release for some systems only, there is one
// dependency for each of these, NAME-SYSTEM-PROCESSOR, because the package workerd itself can't be
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
