// The built Worker in workerd, by miniflare alone: what `wrangler dev` runs, without its bundler, its proxy in front and the
// three seconds of processor time that each start of it costs. What the Worker's shape is, wrangler says.
//
// runtime.mjs shape WRANGLER.TOML                        prints the options that wrangler gives miniflare, as JSON
// runtime.mjs run SHAPE.JSON PORT STATE ENV-FILE BUILD   serves until it is killed; STATE as `wrangler dev --persist-to`

import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { parseEnv } from "node:util";

/** What wrangler would upload: the script and the WebAssembly that it imports. */
async function modules(build) {
  const names = (await readdir(build)).filter((name) => /\.(js|wasm)$/.test(name));
  names.sort((a, b) => (b === "index.js") - (a === "index.js"));
  const module = async (name) =>
    name.endsWith(".wasm")
      ? { type: "CompiledWasm", path: join(build, name), contents: await readFile(join(build, name)) }
      : { type: "ESModule", path: join(build, name), contents: await readFile(join(build, name), "utf8") };
  return Promise.all(names.map(module));
}

async function shape(configuration) {
  const { unstable_getMiniflareWorkerOptions: read, unstable_readConfig: name } = await import("wrangler");
  const { workerOptions } = read(configuration);
  // Modules are read as they are built; the rest is for a bundler.
  const { rootPath, modulesRules, ...rest } = workerOptions;
  return { name: name({ config: configuration }).name, ...rest };
}

async function run(shapeFile, port, state, envFile, build) {
  const { Miniflare, convertV4MiniflareOptions } = await import("miniflare");
  const worker = JSON.parse(await readFile(shapeFile, "utf8"));
  const variables = parseEnv(await readFile(envFile, "utf8"));
  const options = convertV4MiniflareOptions({
    host: "127.0.0.1",
    port: Number(port),
    resourcePersistencePath: join(state, "v3"),
    // Where the cron is set off.
    unsafeTriggerHandlers: true,
    handleStructuredLogs: ({ message }) => console.log(message),
    workers: [
      {
        ...worker,
        bindings: { ...worker.bindings, ...variables },
        modules: await modules(build),
        modulesRoot: build,
      },
    ],
  });
  await new Miniflare(options).ready;
}

const [verb, ...rest] = process.argv.slice(2);
if (verb === "shape") console.log(JSON.stringify(await shape(...rest)));
else if (verb === "run") await run(...rest);
else throw new Error(`say shape or run, not ${verb}`);
