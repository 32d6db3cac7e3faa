// What one machine may make the control plane write: rows are what all workspaces of an account share.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync } from "node:crypto";
import { after, before, test } from "node:test";
import { enrolment, install } from "./installation.mjs";

/** Far below production's, so that a test reaches its end. A machine that is being provisioned may use the reserve. */
const ROWS = { machine_rows_per_hour: 60, machine_rows_reserve: 60 };

let installation;

before(async () => {
  installation = await install({ policy: ROWS });
});
after(() => installation.end());

async function machine(name) {
  const { id } = await installation.workspace({ name });
  const as = installation.machine(id);
  const put = (kind, body) => {
    const digest = createHash("sha256").update(body).digest("hex");
    return installation.call("POST", `/v1/vm/backup/${kind}/${digest}`, { as, body });
  };
  const say = (body) => installation.call("POST", "/v1/vm/heartbeat", { as, body });
  const log = async () => {
    const { json } = await installation.call("GET", `/v1/workspaces/${id}/log`, { as: installation.owner });
    return json.lines;
  };
  const logPage = async (before) => {
    const query = before === undefined ? "" : `?before=${before}`;
    return await installation.call("GET", `/v1/workspaces/${id}/log${query}`, { as: installation.owner });
  };
  return { id, put, say, log, logPage };
}

/** Does it until it is refused, at most so often: how often it was done, and the refusal. */
async function untilRefused(most, once) {
  for (let done = 0; done < most; done += 1) {
    const answer = await once(done);
    if (answer.status !== 200) return { done, answer };
  }
  return { done: most };
}

test("small objects without end are slowed down, with the time to wait, and the machine is heard all the same", async () => {
  const { put, say } = await machine("indexes");
  const { done, answer } = await untilRefused(200, (number) => put("index", `${number}`));
  assert.ok(done >= 10 && done < 100, `${done}`);
  assert.equal(answer.status, 429, answer.text);
  assert.equal(answer.json.code, "rate_limited");
  assert.ok(Number(answer.headers.get("retry-after")) > 0, answer.headers.get("retry-after"));
  assert.equal((await say({ ready: true })).json.wish, "run");
});

test("the same object sent again and again is slowed down too", async () => {
  const { put } = await machine("again");
  const { done, answer } = await untilRefused(200, () => put("index", "the same"));
  assert.ok(done < 100, `${done}`);
  assert.equal(answer.json.code, "rate_limited");
});

test("packs of an honest backup cost so little that more of them fit than there are rows", async () => {
  const { put } = await machine("packs");
  const { done } = await untilRefused(200, (number) => put("data", `pack ${number}`));
  assert.equal(done, 200);
});

test("heartbeats in a row bring their log lines in a few rows, and none is lost", async () => {
  const { say, log, put } = await machine("chatty");
  const said = await untilRefused(200, (number) => say({ boot_progress: number, log: [`line ${number}`] }));
  assert.equal(said.done, 200);
  assert.deepEqual(await log(), Array.from({ length: 200 }, (_, number) => `line ${number}`));
  assert.equal((await put("data", "still")).status, 200);
});

test("heartbeats that change something each time are heard, and not all written", async () => {
  const { say, put } = await machine("changes");
  const said = await untilRefused(200, (port) => say({ ports: [{ port: 1_000 + port, process: "p", http: true, url: null }] }));
  assert.equal(said.done, 200, said.answer?.text);
  // Should a slow machine have made up for the last row meanwhile, this one is due.
  const { answer } = await untilRefused(3, (number) => put("index", `later ${number}`));
  assert.equal(answer?.json?.code, "rate_limited");
});

test("a machine that has spent its rows may enrol again and renew its token", async () => {
  const { id: workspace, put } = await machine("enrols");
  const key = generateKeyPairSync("ed25519");
  const token = installation.token("enrol", { workspace, generation: 1, tenant: "owner" });
  const enrol = (path, token) => installation.call("POST", path, { body: enrolment(key, { workspace, token }) });
  const first = await enrol("/v1/vm/enroll", token);
  assert.equal(first.status, 200, first.text);
  assert.ok((await untilRefused(200, (number) => put("index", `${number}`))).answer);
  for (const path of ["/v1/vm/enroll", "/v1/vm/token"]) {
    const { status, text } = await enrol(path);
    assert.equal(status, 200, text);
  }
});

test("a log of empty lines, or of letters of several bytes, is bounded as any other", async () => {
  const { say, logPage } = await machine("odd-log");
  assert.equal((await say({ log: Array.from({ length: 80_000 }, () => "") })).status, 200);
  for (let at = 0; at < 12; at += 1) assert.equal((await say({ log: ["─".repeat(80_000)] })).status, 200);
  const { status, text } = await logPage();
  assert.equal(status, 200, text.slice(0, 300));
  assert.ok(Buffer.byteLength(text) < 1_300_000, `${Buffer.byteLength(text)}`);
});

test("a log of megabytes is shown a page at a time, from its end, and nothing of it is left out", async () => {
  const { say, logPage } = await machine("long-log");
  const line = (number) => `${number} ${"x".repeat(60_000)}`;
  const all = Array.from({ length: 64 }, (_, number) => line(number));
  for (let at = 0; at < all.length; at += 4) assert.equal((await say({ log: all.slice(at, at + 4) })).status, 200);
  const pages = [];
  for (let before; ; ) {
    const { status, text, json } = await logPage(before);
    assert.equal(status, 200, text);
    assert.ok(text.length < 1_200_000, `${text.length}`);
    pages.unshift(json.lines);
    assert.ok(pages.length <= all.length);
    before = json.before;
    if (before === undefined) break;
  }
  assert.ok(pages.length >= 3, `${pages.length}`);
  assert.deepEqual(pages.flat(), all);
  assert.equal((await logPage("x")).status, 422);
});
