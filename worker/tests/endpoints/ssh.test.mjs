// SSH: whose keys sign in, the key by which a workspace is known, and which machines are given both.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { install } from "./installation.mjs";

const LAPTOP = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIkVjA0oKZP8/lQhL+U2J7/ylHq35ZGpeQDShr5ZjFLh";
const DESK =
  "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBB/vQ+D3z583rYOWMtVcFbiEjcAVAI/WpB+aQMrOFnsSFiwhvcqx5zOI5GlALqSjsZ5fuZH4HrqEKibcjF/pK9g=";

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
  return answer.json;
}

function put(name, key) {
  return ask("PUT", `/v1/ssh-keys/${name}`, { body: { public_key: key } });
}

async function settings(id) {
  return is(await installation.call("POST", "/v1/vm/settings", { as: installation.machine(id), body: {} }), 200);
}

/** The public key in a private one of OpenSSH's form: behind five texts and a number. */
function publicHalf(pem) {
  const bytes = Buffer.from(pem.split("\n").slice(1, -2).join(""), "base64");
  let at = 15;
  const text = () => bytes.subarray(at + 4, (at += 4 + bytes.readUInt32BE(at)));
  for (let skipped = 0; skipped < 3; skipped += 1) text();
  at += 4;
  return text().toString("base64");
}

test("without a key that could sign in, SSH is let in nowhere, and the way out is said", async () => {
  const created = is(await ask("POST", "/v1/workspaces", { body: { ssh: true } }), 422, "invalid_field");
  assert.match(created.hint, /ssh-keys/);
  const { id } = await installation.workspace({ name: "too-early" });
  is(await ask("PATCH", `/v1/workspaces/${id}`, { body: { ssh: true } }), 422, "invalid_field");
  is(await ask("PATCH", `/v1/workspaces/${id}`, { body: { ssh: false } }), 200);
});

test("keys are written, listed and deleted, and what could be more than a key is refused", async () => {
  const { key } = is(await put("laptop", `${LAPTOP} me@laptop`), 200);
  assert.equal(key.public_key, LAPTOP);
  assert.equal(key.fingerprint, "SHA256:zwxK+HJicUTpGh7FrYj+9fvbnvGz+PH/DHU6u3bG/DY");
  is(await put("laptop", LAPTOP), 200);
  assert.match(is(await put("twice", LAPTOP), 422, "invalid_field").message, /as laptop/);
  for (const wrong of [`command="id" ${LAPTOP}`, `${LAPTOP}\n${DESK}`, "ssh-dss AAAA", LAPTOP.slice(0, -4), "PRIVATE KEY"]) {
    const { message, hint } = is(await put("wrong", wrong), 422, "invalid_field");
    assert.ok(message.startsWith("public_key: ") && hint.length > 0, message);
  }
  is(await put("-a", DESK), 422, "invalid_field");
  is(await put("desk", DESK), 200);
  const { keys } = is(await ask("GET", "/v1/ssh-keys"), 200);
  assert.deepEqual(keys.map(({ name }) => name), ["desk", "laptop"]);
  assert.deepEqual(is(await ask("GET", "/v1/ssh-keys/desk"), 200), keys[0]);
  is(await ask("DELETE", "/v1/ssh-keys/desk"), 200);
  is(await ask("DELETE", "/v1/ssh-keys/desk"), 404, "not_found");
  const actions = is(await ask("GET", "/v1/audit"), 200).entries.map(({ action }) => action);
  assert.ok(actions.includes("ssh_key.put") && actions.includes("ssh_key.delete"), actions);
});

test("a machine is given keys and its host key while SSH is let in, and a client is told the same host key", async () => {
  const { id, ssh } = await installation.workspace({ name: "lets-in", ssh: true });
  assert.equal(ssh, true);
  const given = (await settings(id)).ssh;
  assert.deepEqual(given.authorized_keys, [`${LAPTOP} laptop`]);
  const access = is(await ask("GET", `/v1/workspaces/${id}/ssh`), 200);
  assert.equal(access.host_key, `ssh-ed25519 ${publicHalf(given.host_key)}`);
  const digest = createHash("sha256").update(Buffer.from(publicHalf(given.host_key), "base64")).digest("base64");
  assert.equal(access.fingerprint, `SHA256:${digest.replace(/=+$/, "")}`);
  const config = await ask("GET", `/v1/workspaces/${id}/ssh-config`);
  assert.equal(config.text, access.config);
  assert.ok(config.text.startsWith(`Host lets-in-${id}\n  HostName lets-in-${id}.`), config.text);
  const known = await ask("GET", `/v1/workspaces/${id}/ssh-known-hosts`);
  assert.equal(known.text, `lets-in-${id} ${access.host_key}\n`);
  assert.equal((await settings(id)).ssh.host_key, given.host_key, "made once");

  const { revision } = await settings(id);
  is(await put("desk", DESK), 200);
  const more = await settings(id);
  assert.ok(more.revision > revision, "its machine is told");
  assert.equal(more.ssh.authorized_keys.length, 2);
  assert.equal(is(await ask("PATCH", `/v1/workspaces/${id}`, { body: { ssh: false } }), 200).ssh, false);
  assert.equal((await settings(id)).ssh, undefined);
  is(await ask("GET", `/v1/workspaces/${id}/ssh`), 409, "wrong_state");
  is(await ask("PATCH", `/v1/workspaces/${id}`, { body: { ssh: true } }), 200);
  assert.equal((await settings(id)).ssh.host_key, given.host_key, "the same again");

  const other = await installation.workspace({ name: "lets-in-too", ssh: true });
  assert.notEqual((await settings(other.id)).ssh.host_key, given.host_key);
  const closed = await installation.workspace({ name: "closed" });
  assert.equal((await settings(closed.id)).ssh, undefined);
});

test("with the last key nobody is let in, and only a key with the scope admin changes who is", async () => {
  const { id } = await installation.workspace({ name: "nobody", ssh: true });
  const writer = await installation.member("write");
  const denied = await installation.call("PUT", "/v1/ssh-keys/theirs", { as: writer, body: { public_key: DESK } });
  assert.equal(denied.status, 403, denied.text);
  for (const { name } of is(await ask("GET", "/v1/ssh-keys"), 200).keys) is(await ask("DELETE", `/v1/ssh-keys/${name}`), 200);
  assert.equal((await settings(id)).ssh, undefined);
});

test("neither a host key nor a key that signs in is stored in clear", async () => {
  is(await put("laptop", LAPTOP), 200);
  const { id } = await installation.workspace({ name: "sealed", ssh: true });
  const pem = (await settings(id)).ssh.host_key;
  const blob = Buffer.from(pem.replace(/-----[^-]+-----/g, ""), "base64");
  // The private half is the seed and the public half, which stands before it too.
  const publicHalf = blob.subarray(blob.indexOf("ssh-ed25519") + 15, blob.indexOf("ssh-ed25519") + 47);
  const seed = blob.subarray(blob.lastIndexOf(publicHalf) - 32, blob.lastIndexOf(publicHalf));
  const spellings = [...["base64", "base64url", "hex"].map((way) => seed.toString(way).replace(/=+$/, "")), [...seed].join(",")];
  const bucket = await installation.bucket();
  const names = [];
  for (const { key } of (await bucket.list()).objects) {
    names.push(key);
    const text = await (await bucket.get(key)).text();
    assert.ok(!text.includes(LAPTOP.split(" ")[1]) && !spellings.some((spelling) => text.includes(spelling)), key);
  }
  assert.ok(names.includes("ssh-keys/owner.json") && names.includes(`workspaces/owner/${id}/ssh-host-key.json`), names);
});
