// What endpoints answer where all is well, or where a workspace is not in a state for what is asked.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { install } from "./installation.mjs";

let installation;
let workspace;
let path;

before(async () => {
  installation = await install();
  workspace = await installation.workspace({ name: "answers", lifetime: "2h", idle_timeout: "10m" });
  path = `/v1/workspaces/${workspace.id}`;
});
after(() => installation.end());

/** As the owner. */
function ask(method, path, more) {
  return installation.call(method, path, { as: installation.owner, ...more });
}

function is(answer, status, code) {
  assert.equal(answer.status, status, answer.text);
  if (code !== undefined) assert.equal(answer.json.code, code, answer.text);
  return answer.json;
}

test("a workspace is created once for each Idempotency-Key", async () => {
  const headers = { "idempotency-key": "k1" };
  const first = await ask("POST", "/v1/workspaces", { headers, body: { name: "once" } });
  const { id, state } = is(first, 202);
  assert.ok(["requested", "provisioning"].includes(state), state);
  assert.equal(first.headers.get("location"), `http://ebb.test/v1/workspaces/${id}`);
  const again = await ask("POST", "/v1/workspaces", { headers, body: { name: "once" } });
  assert.equal(is(again, 202).id, id);
  assert.equal(again.headers.get("idempotent-replay"), "true");
  is(await ask("POST", "/v1/workspaces", { headers, body: { name: "other" } }), 409, "idempotency_mismatch");
});

test("a list has the workspace, with its state and why it is in it", async () => {
  const { workspaces } = is(await ask("GET", "/v1/workspaces"), 200);
  const found = workspaces.find(({ id }) => id === workspace.id);
  assert.equal(found.name, "answers");
  assert.ok(found.because.length > 0);
  assert.equal(found.line, found.because, "before it runs, what it waits for");
});

test("a workspace shows what was asked for", async () => {
  const { lifetime, idle_timeout } = is(await ask("GET", path), 200);
  assert.deepEqual([lifetime, idle_timeout], ["2h", "10m"]);
});

test("waiting ends with the time-out", async () => {
  is(await ask("GET", `${path}?wait=ready&timeout=1s`), 200);
  is(await ask("GET", `${path}?wait=supper`), 422, "invalid_field");
});

test("durations and retention are changed together", async () => {
  const body = { lifetime: "3h", retention: { keep_last: 2, hourly: 0, daily: 0, weekly: 0 } };
  assert.equal(is(await ask("PATCH", path, { body }), 200).lifetime, "3h");
  assert.equal(is(await ask("GET", `${path}/snapshots`), 200).retention.keep_last, 2);
  is(await ask("PATCH", path, { body: {} }), 422, "invalid_field");
});

test("variables are replaced whole, for new terminals at once, and shown by name alone", async () => {
  const { id } = await installation.workspace({ name: "variables", env: { OLD: "hunter1", BOTH: "a" } });
  const at = `/v1/workspaces/${id}/env`;
  const stored = async () => {
    const bucket = await installation.bucket();
    const object = await bucket.get(`workspaces/owner/${id}/secrets.json`);
    return object === null ? null : Object.keys(JSON.parse(await object.text()).values).sort();
  };
  assert.deepEqual(await stored(), ["BOTH", "OLD"]);
  const set = await ask("PUT", at, { body: { env: { NEW: "hunter2", BOTH: "b" } } });
  const { names, applies } = is(set, 200);
  assert.deepEqual(names, ["BOTH", "NEW"]);
  assert.match(applies, /^In new terminals of the machine that runs, within seconds; its programs keep what they have/);
  assert.ok(!set.text.includes("hunter2"));
  assert.deepEqual(await stored(), ["BOTH", "NEW"]);
  const { events } = is(await ask("GET", `/v1/workspaces/${id}/events`), 200);
  assert.ok(events.some(({ code }) => code === "env_changed"));
  for (const [env, code] of [[{ PATH: "x" }, "invalid_field"], [{ A: 1 }, "invalid_field"], [undefined, "invalid_field"]]) {
    is(await ask("PUT", at, { body: { env } }), 422, code);
  }
  assert.deepEqual(await stored(), ["BOTH", "NEW"]);
  for (const env of [{}, null]) {
    assert.deepEqual(is(await ask("PUT", at, { body: { env } }), 200).names, []);
    assert.equal(await stored(), null);
  }
  is(await ask("DELETE", `/v1/workspaces/${id}`), 202);
  is(await ask("PUT", at, { body: { env: { LATE: "x" } } }), 409, "wrong_state");
  assert.equal(await stored(), null);
});

test("what needs a machine is refused while there is none", async () => {
  const { id } = await installation.workspace({ name: "refusals" });
  const path = `/v1/workspaces/${id}`;
  for (const [method, below, body] of [
    ["POST", "/holds", { for: "10m", reason: "a test" }],
    ["POST", "/snapshots"],
    ["POST", "/retry"],
    ["POST", "/reboot"],
    ["POST", "/undelete"],
    ["POST", "/restore-kit"],
  ]) {
    const { hint, message } = is(await ask(method, path + below, { body }), 409, "wrong_state");
    assert.ok(hint.length > 0 && message.length > 0, below);
  }
  is(await ask("POST", `${path}/wake`, { body: { snapshot: "c0ffee" } }), 404, "not_found");
  is(await ask("DELETE", `${path}/holds/a1b2c3`), 404, "not_found");
});

test("sleep, wake, delete and undelete are taken, and the audit log has them", async () => {
  const { id } = await installation.workspace({ name: "verbs" });
  const path = `/v1/workspaces/${id}`;
  is(await ask("POST", `${path}/wake`), 202);
  is(await ask("POST", `${path}/sleep`), 202);
  is(await ask("DELETE", path), 202);
  is(await ask("POST", `${path}/sleep`), 409, "wrong_state");
  is(await ask("POST", `${path}/undelete`), 202);
  const { entries } = is(await ask("GET", "/v1/audit"), 200);
  const actions = entries.filter(({ subject }) => subject === id).map(({ action }) => action);
  assert.deepEqual(actions.reverse(), [
    "workspace.create",
    "workspace.wake",
    "workspace.sleep",
    "workspace.delete",
    "workspace.undelete",
  ]);
});

test("history, log, ports and snapshots are shown", async () => {
  const { events } = is(await ask("GET", `${path}/events`), 200);
  assert.equal(events[0].seq, 1);
  assert.ok(events.every(({ because }) => because.length > 0));
  assert.deepEqual(is(await ask("GET", `${path}/log`), 200).lines, []);
  assert.deepEqual(is(await ask("GET", `${path}/ports`), 200).ports, []);
  assert.deepEqual(is(await ask("GET", `${path}/snapshots`), 200).snapshots, []);
  is(await ask("GET", `${path}/events?after=1&before=2`), 422, "invalid_field");
});

test("a port is opened, closed and linked; reserved ones are not", async () => {
  for (const access of ["public", "owner"]) {
    is(await ask("PUT", `${path}/ports/3000`, { body: { access } }), 200);
  }
  const { url } = is(await ask("POST", `${path}/ports/3000/link`, { body: { for: "1h" } }), 201);
  assert.match(url, /^http:\/\/3000\..*\/\?ebb_access=/);
  for (const port of [22, 0, 70000]) {
    is(await ask("PUT", `${path}/ports/${port}`, { body: { access: "public" } }), 422, "invalid_field");
  }
});

test("a key is shown once, works, and does not when it is revoked", async () => {
  const { key, info } = is(await ask("POST", "/v1/keys", { body: { label: "ci", scopes: ["read"] } }), 201);
  const as = { authorization: `Bearer ${key}` };
  is(await installation.call("GET", "/v1/workspaces", { as }), 200);
  const { keys } = is(await ask("GET", "/v1/keys"), 200);
  assert.ok(keys.some(({ id }) => id === info.id));
  is(await ask("DELETE", `/v1/keys/${info.id}`), 204);
  is(await installation.call("GET", "/v1/workspaces", { as }), 401, "unauthorized");
});

test("the installation tells how it is", async () => {
  assert.ok("ok" in (await installation.call("GET", "/health")).json);
  assert.match((await ask("GET", "/metrics")).text, /^# HELP /);
  is(await ask("GET", "/v1/usage"), 200);
  is(await ask("GET", "/v1/sweep"), 200);
  assert.equal(is(await ask("PUT", "/v1/sweep", { body: { mode: "dry-run" } }), 200).asked, "dry-run");
  is(await ask("GET", "/v1/catalog"), 503, "provider_unavailable");
  is(await ask("POST", "/v1/master-key/rotate"), 200);
});

test("an idle-agent is published under its hash and fetched by it", async () => {
  const body = "an agent";
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(body));
  const at = `/v1/vm/agent/${Buffer.from(digest).toString("hex")}`;
  is(await installation.call("GET", at), 404, "not_found");
  is(await ask("PUT", at, { body }), 201);
  assert.equal((await installation.call("GET", at)).text, body);
  is(await ask("PUT", `/v1/vm/agent/${"0".repeat(64)}`, { body }), 422, "invalid_field");
});

test("a program is published once its parts are there, chosen by name, fetched by machines, and withdrawn", async () => {
  const body = "a bundle";
  const sha256 = createHash("sha256").update(body).digest("hex");
  const part = `/v1/programs/parts/${sha256}`;
  const program = { version: "1.0", parts: [{ sha256, size_bytes: body.length }], unpacked_bytes: 10_240 };
  const create = (name, agents) => ask("POST", "/v1/workspaces", { body: { name, agents } });
  assert.deepEqual(is(await create("nothing-yet"), 202).agents, []);
  is(await create("too-soon", ["claude"]), 422, "invalid_field");
  is(await ask("GET", part), 404, "not_found");
  is(await ask("PUT", "/v1/programs/claude", { body: program }), 422, "invalid_field");
  is(await ask("PUT", `/v1/programs/parts/${"0".repeat(64)}`, { body }), 422, "invalid_field");
  is(await ask("PUT", part, { body }), 201);
  is(await ask("PUT", part, { body }), 200);
  assert.equal(is(await ask("GET", part), 200).size_bytes, body.length);
  is(await ask("PUT", "/v1/programs/left-pad", { body: program }), 404, "not_found");
  is(await ask("PUT", "/v1/programs/claude", { body: { ...program, version: "../1" } }), 422, "invalid_field");
  const longer = { ...program, parts: [{ sha256, size_bytes: body.length + 1 }] };
  is(await ask("PUT", "/v1/programs/claude", { body: longer }), 422, "invalid_field");
  is(await ask("PUT", "/v1/programs/claude", { body: program }), 200);
  assert.deepEqual(is(await ask("GET", "/v1/programs"), 200).programs, [{ name: "claude", ...program }]);

  assert.deepEqual(is(await create("says-nothing"), 202).agents, ["claude"]);
  const chosen = is(await create("wants-none", []), 202);
  assert.deepEqual(chosen.agents, []);
  const change = (agents) => ask("PATCH", `/v1/workspaces/${chosen.id}`, { body: { agents } });
  assert.deepEqual(is(await change(["claude", "claude"]), 200).agents, ["claude"]);
  is(await change(["gemini"]), 422, "invalid_field");
  is(await change(["aider"]), 422, "not_built");
  assert.deepEqual(is(await change([]), 200).agents, []);

  const fetched = `/v1/vm/programs/${sha256}`;
  is(await installation.call("GET", fetched), 401, "unauthorized");
  assert.equal((await installation.call("GET", fetched, { as: installation.machine(workspace.id) })).text, body);
  assert.deepEqual(is(await ask("DELETE", "/v1/programs/claude"), 200).programs, []);
  assert.deepEqual(is(await create("after-all"), 202).agents, []);
});

test("a machine speaks for its own generation alone", async () => {
  const machine = installation.machine(workspace.id);
  const say = (as, body = {}) => installation.call("POST", "/v1/vm/heartbeat", { as, body });
  assert.equal(is(await say(machine), 200).wish, "run");
  is(await say(installation.machine(workspace.id, 2)), 410, "stale_generation");
  is(await installation.call("GET", "/v1/vm/connect", { as: machine }), 426);
  is(await installation.call("DELETE", "/v1/vm/backup/config", { as: machine }), 403, "deletion_refused");
  is(await installation.call("GET", "/v1/vm/backup/config", { as: machine }), 404, "not_found");
});

test("an owner reads the repository with any user's name, and a kit is refused without a snapshot", async () => {
  const token = installation.owner.authorization.replace("Bearer ", "");
  const as = { authorization: `Basic ${Buffer.from(`restic:${token}`).toString("base64")}` };
  const answer = await installation.call("GET", `${path}/restic/data/`, { as });
  assert.deepEqual([answer.status, answer.text], [200, "[]"]);
});

test("the owner token signs in, and no API key does, whatever its scopes", async () => {
  const signIn = (token) =>
    installation.call("POST", "/signin", {
      headers: { "content-type": "application/x-www-form-urlencoded", origin: "http://ebb.test" },
      body: `token=${encodeURIComponent(token)}`,
    });
  const token = (actor) => actor.authorization.replace("Bearer ", "");
  assert.match((await signIn(token(installation.owner))).headers.get("set-cookie") ?? "", /^__Host-ebbtide=/);
  const refused = await signIn(token(await installation.member("read", "write", "admin")));
  assert.equal(refused.status, 401, refused.text);
  assert.equal(refused.headers.get("set-cookie"), null);
});

test("a button of the page needs a session, and a session's proof", async () => {
  const press = (headers) => installation.call("POST", `/w/${workspace.id}/sleep`, { headers, body: "csrf=x" });
  assert.equal((await press({})).status, 401);
  const pressAs = async (token) => {
    const signed_in_with = createHash("sha256").update(`ebbtide-owner-v1\n${token}`).digest("hex");
    const session = installation.token("session", { tenant: "owner", actor: "owner", signed_in_with });
    return (await press({ cookie: `__Host-ebbtide=${session}` })).status;
  };
  assert.equal(await pressAs(installation.owner.authorization.replace("Bearer ", "")), 403);
  assert.equal(await pressAs("the owner token of before"), 401);
});

test("a machine whose time is over hears it over its socket, and in each answer", async () => {
  const { id } = await installation.workspace({ name: "over" });
  const machine = installation.machine(id);
  const socket = await installation.connect(machine);
  const closed = new Promise((resolve) => socket.addEventListener("close", ({ code }) => resolve(code)));
  await installation.call("DELETE", `/v1/workspaces/${id}?discard=true`, { as: installation.owner });
  for (const [method, path, body] of [["POST", "/v1/vm/heartbeat", { ready: true }], ["GET", "/v1/vm/connect"]]) {
    const { status, json, text } = await installation.call(method, path, { as: machine, body, headers: body ? {} : { upgrade: "websocket" } });
    assert.deepEqual([status, json?.code], [410, "stale_generation"], text);
  }
  socket.send(JSON.stringify({ ready: true }));
  assert.equal(await closed, 4410);
});

test("where the database does not say which sessions were ended, a session counts until its own end", async () => {
  const own = await install();
  try {
    const signed_in_with = createHash("sha256").update(`ebbtide-owner-v1\n${own.owner.authorization.replace("Bearer ", "")}`).digest("hex");
    const cookie = `__Host-ebbtide=${own.token("session", { tenant: "owner", actor: "owner", signed_in_with })}`;
    const look = async () => (await own.call("GET", "/", { headers: { cookie } })).text.includes("Sign out");
    assert.ok(await look());
    await own.database.prepare("DROP TABLE ended_sessions").run();
    assert.ok(await look());
  } finally {
    await own.end();
  }
});
