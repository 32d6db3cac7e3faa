// V8's sampling profiler in the Worker's isolate and in that of its objects, through workerd's inspector.
//
// profile.mjs INSPECTOR-URL   prints the URL of a small server: `/begin` starts both profiles, `/end` stops them and answers
//                             with the milliseconds of each isolate by kind. Serves until it is killed.

import { createServer } from "node:http";

const EVERY_US = 200;
// A sample stands for the time since the one before it, but not for time in which the isolate did nothing.
const SAMPLE_MOST_US = 2 * EVERY_US;

class Isolate {
  #socket;
  #waiting = new Map();
  #last = 0;

  static async open(url) {
    const isolate = new Isolate();
    isolate.#socket = new WebSocket(url);
    isolate.#socket.addEventListener("message", ({ data }) => isolate.#heard(JSON.parse(data)));
    await new Promise((resolve, reject) => {
      isolate.#socket.addEventListener("open", resolve);
      isolate.#socket.addEventListener("error", reject);
    });
    await isolate.ask("Profiler.enable");
    await isolate.ask("Profiler.setSamplingInterval", { interval: EVERY_US });
    return isolate;
  }

  #heard({ id, result, error }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.reject(new Error(error.message));
    else waiting?.resolve(result);
  }

  ask(method, params = {}) {
    const id = ++this.#last;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#socket.send(JSON.stringify({ id, method, params }));
    return answer;
  }
}

function kind({ functionName, url }) {
  if (functionName === "(idle)") return "idle";
  if (functionName === "(garbage collector)") return "collector";
  if (functionName === "(program)") return "runtime";
  return url.startsWith("wasm:") ? "wasm" : "script";
}

/** Milliseconds by kind, and the functions that took most. */
function sum({ nodes, samples = [], timeDeltas = [] }) {
  const byId = new Map(nodes.map((node) => [node.id, node.callFrame]));
  const kinds = { wasm: 0, script: 0, collector: 0, runtime: 0, idle: 0 };
  const functions = new Map();
  samples.forEach((id, at) => {
    const frame = byId.get(id);
    const ms = Math.min(Math.max(timeDeltas[at], 0), SAMPLE_MOST_US) / 1000;
    kinds[kind(frame)] += ms;
    const name = frame.functionName || `(line ${frame.lineNumber})`;
    functions.set(name, (functions.get(name) ?? 0) + ms);
  });
  const most = [...functions].filter(([name]) => name !== "(idle)").sort((a, b) => b[1] - a[1]);
  return { ...kinds, most: most.slice(0, 25).map(([name, ms]) => `${ms.toFixed(1)} ${name}`) };
}

const inspector = new URL(process.argv[2]);
const list = await (await fetch(new URL("/json", `http://${inspector.host}`))).json();
const target = (ending) => list.find(({ id }) => id.endsWith(ending))?.webSocketDebuggerUrl;
const isolates = { worker: await Isolate.open(target("ebbtide")), objects: await Isolate.open(target("ebbtide-objects")) };

async function both(method) {
  const answers = Object.entries(isolates).map(async ([name, isolate]) => [name, await isolate.ask(method)]);
  return Object.fromEntries(await Promise.all(answers));
}

async function answer(path) {
  if (path === "/begin") return both("Profiler.start");
  const profiles = Object.entries(await both("Profiler.stop"));
  return Object.fromEntries(profiles.map(([name, { profile }]) => [name, sum(profile)]));
}

const server = createServer(async ({ url }, response) => {
  const reply = await answer(url).then(JSON.stringify, (error) => JSON.stringify({ error: String(error) }));
  response.setHeader("content-type", "application/json").end(reply);
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
