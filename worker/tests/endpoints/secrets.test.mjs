// Secrets: written once, never shown, given to machines of the workspaces that chose them and to nobody else.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { install } from "./installation.mjs";

const MARKER = "correct-horse-battery-staple";
const GIT = { kind: "git_credential", host: "git.example.org" };

let installation;
before(async () => {
  installation = await install();
});
after(() => installation.end());

function ask(method, path, more) {
  return installation.call(method, path, { as: installation.owner, ...more });
}

function is(answer, status, code) {
  assert.equal(answer.status, status, answer.text);
  if (code !== undefined) assert.equal(answer.json.code, code, answer.text);
  assert.ok(!answer.text.includes(MARKER) || answer.forMachine, "an answer holds a value");
  return answer.json;
}

function put(name, use, more = {}) {
  return ask("PUT", `/v1/secrets/${name}`, { body: { use, value: MARKER, ...more } });
}

/** What git on a machine of a workspace is answered. */
async function git(id, host = "git.example.org", protocol = "https", as = installation.machine(id)) {
  const answer = await installation.call("POST", "/v1/vm/git-credential", { as, body: { protocol, host } });
  return { ...answer, forMachine: true };
}

async function settings(id) {
  const answer = await installation.call("POST", "/v1/vm/settings", { as: installation.machine(id), body: {} });
  return is({ ...answer, forMachine: true }, 200);
}

test("a secret is written, listed and deleted without its value, with who gets it", async () => {
  const { id } = await installation.workspace({ name: "lists" });
  const written = is(await put("token", GIT, { everywhere: true }), 200);
  assert.match(written.applies, /each time/);
  assert.equal(written.secret.version, 1);
  assert.deepEqual(written.secret.use, { ...GIT, username: "x-access-token" });
  assert.equal(is(await put("token", GIT, { everywhere: true }), 200).secret.version, 2);
  const { secrets } = is(await ask("GET", "/v1/secrets"), 200);
  assert.deepEqual(secrets.map(({ name }) => name), ["token"]);
  assert.ok(secrets[0].workspaces.some((user) => user.id === id && user.name === "lists"));
  assert.deepEqual(is(await ask("GET", "/v1/secrets/token"), 200), secrets[0]);
  const { secret } = is(await ask("DELETE", "/v1/secrets/token"), 200);
  assert.ok(secret.workspaces.some((user) => user.id === id), "whoever had it is named");
  is(await ask("GET", "/v1/secrets/token"), 404, "not_found");
  is(await ask("DELETE", "/v1/secrets/token"), 404, "not_found");
  assert.equal(is(await put("token", GIT), 200).secret.version, 3, "versions rise over a deletion");
  const actions = is(await ask("GET", "/v1/audit"), 200).entries.map(({ action, subject }) => `${action} ${subject}`);
  assert.ok(actions.includes("secret.put token: git_credential") && actions.includes("secret.delete token"), actions);
  is(await ask("DELETE", "/v1/secrets/token"), 200);
});

test("what cannot be used is refused by its field, with a way out and without the value", async () => {
  const table = [
    [{ kind: "environment", variable: "LD_PRELOAD" }, "use.variable"],
    [{ kind: "file", path: "../x" }, "use.path"],
    [{ kind: "git_credential", host: "https://github.com" }, "use.host"],
    [{ kind: "git_credential", host: "h", username: "a:b" }, "use.username"],
    [{ kind: "ssh_key" }, "value"],
  ];
  for (const [use, field] of table) {
    const { message, hint } = is(await put("a", use), 422, "invalid_field");
    assert.ok(message.startsWith(`${field}: `) && hint.length > 0, message);
  }
  is(await put("-a", GIT), 422, "invalid_field");
  is(await put("a", { ...GIT, hots: "h" }), 422, "unknown_field");
  is(await put("a", GIT, { value: `${MARKER}\nhost=evil` }), 422, "invalid_field");
  is(await put("a", GIT, { value: `${MARKER}${"x".repeat(17_000)}` }), 422, "invalid_field");
  is(await ask("POST", "/v1/workspaces", { body: { secrets: ["nowhere"] } }), 422, "invalid_field");
  const { id } = await installation.workspace({ name: "refusals" });
  const { message } = is(await ask("PATCH", `/v1/workspaces/${id}`, { body: { secrets: ["nowhere"] } }), 422);
  assert.match(message, /there is no secret nowhere/);
});

test("git is given a credential for its host while the workspace has chosen it, and not a call longer", async () => {
  is(await put("chosen", GIT), 200);
  const { id, secrets } = await installation.workspace({ name: "chooses", secrets: ["chosen"] });
  assert.deepEqual(secrets, ["chosen"]);
  const other = await installation.workspace({ name: "chooses-not" });
  assert.deepEqual(is(await git(id), 200), { username: "x-access-token", password: MARKER });
  is(await git(id, "evil.example.org"), 404, "not_found");
  is(await git(id, "git.example.org", "http"), 404, "not_found");
  is(await git(other.id), 404, "not_found");
  is(await ask("PATCH", `/v1/workspaces/${other.id}`, { body: { secrets: ["chosen"] } }), 200);
  is(await git(other.id), 200);
  is(await ask("PATCH", `/v1/workspaces/${id}`, { body: { secrets: [] } }), 200);
  is(await git(id), 404, "not_found");
  is(await ask("DELETE", "/v1/secrets/chosen"), 200);
  is(await git(other.id), 404, "not_found");
  is(await put("chosen", GIT, { everywhere: true }), 200);
  is(await ask("PATCH", `/v1/workspaces/${id}`, { body: { secrets: "everywhere" } }), 200);
  is(await git(id), 200);
  is(await ask("DELETE", "/v1/secrets/chosen"), 200);
});

test("a machine of another generation or tenant is given nothing", async () => {
  is(await put("chosen", GIT, { everywhere: true }), 200);
  const { id } = await installation.workspace({ name: "fences" });
  is(await git(id, "git.example.org", "https", installation.machine(id, 2)), 410, "stale_generation");
  const token = installation.token("vm", { workspace: id, generation: 1, tenant: "other" });
  is(await git(id, "git.example.org", "https", { authorization: `Bearer ${token}` }), 404, "not_found");
  is(await ask("DELETE", "/v1/secrets/chosen"), 200);
});

test("another tenant sees, changes and chooses nothing of it", async () => {
  is(await put("ours", GIT), 200);
  const stranger = await installation.member("admin");
  await installation.database.prepare("UPDATE api_keys SET tenant = 'other' WHERE scopes = 'admin'").run();
  const theirs = (method, path, body) => installation.call(method, path, { as: stranger, body });
  assert.deepEqual(is(await theirs("GET", "/v1/secrets"), 200), { secrets: [] });
  is(await theirs("GET", "/v1/secrets/ours"), 404, "not_found");
  is(await theirs("DELETE", "/v1/secrets/ours"), 404, "not_found");
  is(await theirs("POST", "/v1/workspaces", { secrets: ["ours"] }), 422, "invalid_field");
  is(await theirs("PUT", "/v1/secrets/ours", { use: GIT, value: "theirs" }), 200);
  assert.equal(is(await ask("GET", "/v1/secrets/ours"), 200).version, 1);
  is(await ask("DELETE", "/v1/secrets/ours"), 200);
});

test("a machine is given variables, files and keys, and told when they change", async () => {
  const key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----";
  is(await put("npm", { kind: "file", path: ".npmrc" }, { everywhere: true }), 200);
  is(await put("url", { kind: "environment", variable: "DATABASE_URL" }, { everywhere: true }), 200);
  is(await put("deploy", { kind: "ssh_key", host: "github.com" }, { everywhere: true, value: key }), 200);
  const { id } = await installation.workspace({ name: "given", env: { OWN: "x" } });
  const given = await settings(id);
  assert.deepEqual(given.variables.map(({ name }) => name), ["OWN", "DATABASE_URL"]);
  assert.deepEqual(given.files, [{ name: "npm", path: ".npmrc", mode: "0600", value: MARKER }]);
  assert.deepEqual(given.ssh_keys, [{ name: "deploy", host: "github.com", value: `${key}\n` }]);

  const socket = await installation.connect(installation.machine(id));
  const told = (wanted) =>
    new Promise((resolve) => {
      socket.addEventListener("message", ({ data }) => {
        if (wanted(JSON.parse(data).settings_revision)) resolve();
      });
    });
  const changed = told((revision) => revision > given.revision);
  is(await put("url", { kind: "environment", variable: "OTHER_URL" }, { everywhere: true }), 200);
  await changed;
  const next = await settings(id);
  assert.deepEqual(next.variables.map(({ name }) => name), ["OWN", "OTHER_URL"]);
  const gone = told((revision) => revision > next.revision);
  is(await ask("DELETE", "/v1/secrets/npm"), 200);
  await gone;
  assert.deepEqual((await settings(id)).files, []);
  socket.close();
  for (const name of ["url", "deploy"]) is(await ask("DELETE", `/v1/secrets/${name}`), 200);
});

test("no value and no host is stored in clear, and none of them in the database", async () => {
  is(await put("sealed", GIT, { everywhere: true }), 200);
  const { id } = await installation.workspace({ name: "sealed", secrets: ["sealed"] });
  is(await git(id), 200);
  const bucket = await installation.bucket();
  for (const { key } of (await bucket.list()).objects) {
    const text = await (await bucket.get(key)).text();
    assert.ok(!text.includes(MARKER) && !text.includes("git.example.org"), key);
  }
  const { results: tables } = await installation.database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
  for (const { name } of tables.filter(({ name }) => !name.startsWith("_"))) {
    const { results } = await installation.database.prepare(`SELECT * FROM "${name}"`).all();
    assert.ok(!JSON.stringify(results).includes(MARKER), name);
  }
  is(await ask("DELETE", "/v1/secrets/sealed"), 200);
});

test("of many that are written at once none is lost, and there are not too many", async () => {
  const names = Array.from({ length: 4 }, (_, number) => `at-once-${number}`);
  for (const answer of await Promise.all(names.map((name) => put(name, GIT)))) {
    // Whoever was overtaken too often is told so, and nothing of theirs is half there.
    assert.ok([200, 503].includes(answer.status), answer.text);
    if (answer.status === 200) is(await ask("GET", `/v1/secrets/${answer.json.secret.name}`), 200);
  }
  for (let number = 0; number < 64; number += 1) {
    const { status } = await put(`n${number}`, GIT);
    if (status !== 200) break;
  }
  is(await put("one-more", GIT), 403, "cap_reached");
});

test("the pages write, choose and delete a secret for whoever has a session and its proof, and show no value", async () => {
  const own = await install();
  try {
    const { id } = await own.workspace({ name: "paged" });
    const signed_in_with = createHash("sha256").update(`ebbtide-owner-v1\n${own.ownerToken}`).digest("hex");
    const cookie = `__Host-ebbtide=${own.token("session", { tenant: "owner", actor: "owner", signed_in_with })}`;
    const look = (path) => own.call("GET", path, { headers: { cookie } });
    const [, csrf] = (await look("/secrets")).text.match(/name="csrf" value="([^"]+)"/);
    const send = (path, fields) =>
      own.call("POST", path, { headers: { cookie }, body: new URLSearchParams(fields).toString() });
    const fields = { csrf, kind: "git_credential", name: "token", place: "GitHub.com", value: MARKER, everywhere: "on" };
    assert.equal((await send("/secrets", { ...fields, csrf: "x" })).status, 403);
    const refused = await send("/secrets", { ...fields, place: "not a host" });
    assert.equal(refused.status, 422, refused.text);
    assert.ok(refused.text.includes("not a host") && !refused.text.includes(MARKER), "what was typed stays, but for the value");
    const written = await send("/secrets", fields);
    assert.ok(written.status === 200 && written.text.includes("Git credential for github.com"), written.text);
    assert.ok(!written.text.includes(MARKER));
    assert.ok((await look("/new")).text.includes('name="secret" value="token" checked'));
    const none = await send(`/w/${id}/secrets`, { csrf, secrets_shown: "1", secret_everywhere: "token" });
    assert.equal(none.status, 303, none.text);
    const chosen = async () => (await own.call("GET", `/v1/workspaces/${id}`, { as: own.owner })).json.secrets;
    assert.deepEqual(await chosen(), []);
    const again = { csrf, secrets_shown: "1", secret_everywhere: "token", secret: "token" };
    assert.equal((await send(`/w/${id}/secrets`, again)).status, 303);
    assert.equal(await chosen(), "everywhere");
    const deleted = await send("/secrets/delete", { csrf, name: "token" });
    assert.ok(deleted.text.includes("These had it: paged."), deleted.text);
  } finally {
    await own.end();
  }
});
