// The built Worker in workerd, by miniflare alone: what `wrangler dev` runs, without its bundler, its proxy in front and the
// three seconds of processor time that each start of it costs. What the Worker's shape is, wrangler says.
//
// runtime.mjs shape WRANGLER.TOML                        prints the options that wrangler gives miniflare, as JSON
// runtime.mjs run SHAPE.JSON PORT STATE ENV-FILE BUILD   serves until it is killed; STATE as `wrangler dev --persist-to`
// runtime.mjs inspected …                                the same, with the objects in an isolate of their own and V8's
//                                                        inspector, whose URL is written to STATE/inspector

import { readFile, readdir, writeFile } from "node:fs/promises";
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

/** The Worker, and the same with its objects apart: what each of the two takes is told from the other. */
function parted(worker) {
  const objects = { ...worker, name: `${worker.name}-objects` };
  const elsewhere = Object.entries(worker.durableObjects).map(([binding, object]) => [
    binding,
    { ...object, scriptName: objects.name },
  ]);
  const durableObjects = Object.fromEntries(elsewhere);
  return [{ ...worker, durableObjects }, objects];
}

async function run(shapeFile, port, state, envFile, build, { inspected = false } = {}) {
  const { Miniflare, convertV4MiniflareOptions } = await import("miniflare");
  const worker = JSON.parse(await readFile(shapeFile, "utf8"));
  const variables = parseEnv(await readFile(envFile, "utf8"));
  const whole = {
    ...worker,
    bindings: { ...worker.bindings, ...variables },
    modules: await modules(build),
    modulesRoot: build,
  };
  const options = convertV4MiniflareOptions({
    host: "127.0.0.1",
    port: Number(port),
    resourcePersistencePath: join(state, "v3"),
    // Where the cron is set off.
    unsafeTriggerHandlers: true,
    handleStructuredLogs: ({ message }) => console.log(message),
    ...(inspected && { inspectorPort: 0 }),
    workers: inspected ? parted(whole) : [whole],
  });
  const miniflare = new Miniflare(options);
  await miniflare.ready;
  if (inspected) await writeFile(join(state, "inspector"), String(await miniflare.getInspectorURL()));
}

const [verb, ...rest] = process.argv.slice(2);
if (verb === "shape") console.log(JSON.stringify(await shape(...rest)));
else if (verb === "run") await run(...rest);
else if (verb === "inspected") await run(...rest, { inspected: true });
else throw new Error(`say shape, run or inspected, not ${verb}`);
