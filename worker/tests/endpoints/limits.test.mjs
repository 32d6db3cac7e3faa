// What anybody may do without a token: so much a minute and no more, and without learning what exists.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, test } from "node:test";
import { OPEN_LIMIT, enrolment, install } from "./installation.mjs";

let installation;
let workspace;

before(async () => {
  installation = await install();
  workspace = (await installation.workspace({ name: "limits" })).id;
});
after(() => installation.end());

function from(address) {
  return { "cf-connecting-ip": address };
}

/** Calls until it is refused: at the latest when a minute that began meanwhile is used up as well. */
async function untilRefused(call) {
  for (let calls = 0; calls <= 2 * OPEN_LIMIT; calls += 1) {
    const answer = await call();
    if (answer.status === 429) return { answer, calls };
  }
  assert.fail(`${2 * OPEN_LIMIT + 1} calls in a row were let in`);
}

test("every open route has its limit for each address, and says when to come again", async () => {
  const { paths } = (await installation.call("GET", "/openapi.json", { headers: from("10.9.0.1") })).json;
  const open = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, { security }]) => security.length === 0)
      .map(([method]) => [method.toUpperCase(), path.replace("{sha256}", "0".repeat(64))]),
  );
  assert.ok(open.length >= 5, `${open}`);
  // One after the other: each needs its calls within one minute.
  for (const [method, path] of open) {
    const what = `${method} ${path}`;
    const body = method === "POST" ? {} : undefined;
    const call = (address) => installation.call(method, path, { headers: from(address), body });
    const { answer, calls } = await untilRefused(() => call("10.9.0.2"));
    assert.ok(calls >= OPEN_LIMIT, `${what} was refused after ${calls}`);
    assert.equal(answer.json.code, "rate_limited", what);
    assert.equal(answer.headers.get("retry-after"), "60", what);
    for (const part of ["message", "hint", "request_id"]) assert.ok(answer.json[part].length > 0, what);
    assert.notEqual((await call("10.9.0.3")).status, 429, what);
  }
});

test("an IPv6 network is one address", async () => {
  let host = 1;
  const call = () => installation.call("GET", "/health", { headers: from(`2001:db8::${(host += 1).toString(16)}`) });
  const { calls } = await untilRefused(call);
  assert.ok(calls >= OPEN_LIMIT, `${calls}`);
});

test("the sign-in form has a limit too, and its page says so", async () => {
  const headers = { ...from("10.9.0.4"), "content-type": "application/x-www-form-urlencoded" };
  const { answer } = await untilRefused(() => installation.call("POST", "/signin", { headers, body: "token=" }));
  assert.equal(answer.headers.get("retry-after"), "60");
  assert.match(answer.headers.get("content-type"), /^text\/html/);
});

test("without its limiter an installation lets everybody in, and its health says so", async () => {
  const other = await install({ ratelimits: {} });
  try {
    for (let calls = 0; calls <= OPEN_LIMIT; calls += 1) {
      assert.equal((await other.call("GET", "/openapi.json")).status, 200);
    }
    const { parts } = (await other.call("GET", "/health")).json;
    assert.deepEqual(parts.find(({ name }) => name === "open_limit"), {
      name: "open_limit",
      status: "degraded",
      code: "not_bound",
    });
  } finally {
    await other.end();
  }
});

/** What a machine with a key of its own and no token sends. */
function stranger(workspace, generation) {
  return enrolment(generateKeyPairSync("ed25519"), { workspace, generation });
}

test("a stranger does not learn from an enrolment which workspaces exist", async () => {
  const said = [];
  for (const [id, generation] of [[workspace, 1], [workspace, 2], ["aaaaaaaaaa", 1]]) {
    for (const path of ["/v1/vm/enroll", "/v1/vm/token"]) {
      const headers = from("10.9.0.5");
      const answer = await installation.call("POST", path, { body: stranger(id, generation), headers });
      const { code, message, hint } = answer.json;
      said.push({ status: answer.status, code, message, hint });
    }
  }
  assert.equal(said[0].status, 403);
  assert.equal(said[0].code, "enrolment_refused");
  for (const one of said) assert.deepEqual(one, said[0]);
});
