// Every route of the API: who may come in, and how what is wrong with a request is said.
//
// The routes are read from /openapi.json, which the Worker makes from its table of routes: a new line is covered here
// without a word.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { install } from "./installation.mjs";

/** Scopes from the least to the most. */
const SCOPES = ["read", "write", "admin"];

let installation;
let operations;
let workspace;
const members = {};

before(async () => {
  installation = await install();
  const { json } = await installation.call("GET", "/openapi.json");
  operations = Object.entries(json.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, ...operation })),
  );
  workspace = (await installation.workspace({ name: "doors" })).id;
  members.none = await installation.member();
  members.read = await installation.member("read");
  members.write = await installation.member("write");
});
after(() => installation.end());

/** A path that the operation takes, of the one workspace that there is. */
function pathOf({ path }) {
  return path
    .replace("{id}", workspace)
    .replace("{hold}", "a1b2c3")
    .replace("{port}", "3000")
    .replace("{secret}", "github-token")
    .replace("{name}", "claude")
    .replace("{key}", "abc")
    .replace("{sha256}", "0".repeat(64))
    .replace("{path}", "config");
}

/** `open`, `machine`, `restic`, or the scope that the operation needs. */
function access({ security, description }) {
  if (security.length === 0) return "open";
  if (security.some((way) => "machine" in way)) return "machine";
  if (security.some((way) => "ownerBasic" in way)) return "restic";
  return description.match(/scope `(\w+)`/)[1];
}

function actorFor(operation) {
  const needs = access(operation);
  if (needs === "open") return {};
  return needs === "machine" ? installation.machine(workspace) : installation.owner;
}

function refused({ status, json, text }, wanted, code, what) {
  assert.equal(status, wanted, `${what}: ${text}`);
  assert.equal(json?.code, code, `${what}: ${text}`);
  for (const part of ["message", "hint", "request_id"]) {
    assert.ok(json[part]?.length > 0, `${what} has no ${part}`);
  }
}

function each(choose, check) {
  const chosen = operations.filter(choose);
  assert.ok(chosen.length > 0);
  return Promise.all(chosen.map((operation) => check(operation, `${operation.method} ${operation.path}`)));
}

test("there are as many routes as the table has lines, and of each kind", () => {
  assert.ok(operations.length >= 52, `${operations.length}`);
  const kinds = new Set(operations.map(access));
  assert.deepEqual([...kinds].sort(), ["admin", "machine", "open", "read", "restic", "write"]);
});

test("nobody gets in without a credential where one is needed", () =>
  each(
    (operation) => access(operation) !== "open",
    async (operation, what) => {
      const answer = await installation.call(operation.method, pathOf(operation));
      refused(answer, 401, "unauthorized", what);
      assert.match(answer.headers.get("www-authenticate"), /^Bearer /, what);
    },
  ));

test("a credential that is none of ours opens nothing", () =>
  each(
    (operation) => access(operation) !== "open",
    async (operation, what) => {
      const as = { authorization: "Bearer ebb_nosuchkey_0123456789abcdef0123456789abcdef" };
      // Each from an address of its own: whoever guesses from one is stopped after thirty.
      const headers = { "cf-connecting-ip": `10.0.0.${operations.indexOf(operation)}` };
      refused(await installation.call(operation.method, pathOf(operation), { as, headers }), 401, "unauthorized", what);
    },
  ));

test("a key without the scope is refused", () =>
  each(
    (operation) => SCOPES.includes(access(operation)),
    async (operation, what) => {
      const below = ["none", ...SCOPES][SCOPES.indexOf(access(operation))];
      refused(await installation.call(operation.method, pathOf(operation), { as: members[below] }), 403, "forbidden", what);
    },
  ));

test("people are no machines, and machines are no people", () =>
  each(
    (operation) => access(operation) !== "open",
    async (operation, what) => {
      const as = access(operation) === "machine" ? installation.owner : installation.machine(workspace);
      const headers = { "cf-connecting-ip": `10.0.1.${operations.indexOf(operation)}` };
      refused(await installation.call(operation.method, pathOf(operation), { as, headers }), 401, "unauthorized", what);
    },
  ));

test("a method that a path does not have is refused, and those that it has are named", () =>
  each(
    () => true,
    async ({ path, ...operation }, what) => {
      const answer = await installation.call("PROPFIND", pathOf({ path, ...operation }));
      refused(answer, 405, "method_not_allowed", what);
      const allowed = operations.filter((other) => other.path === path).map((other) => other.method);
      assert.deepEqual(answer.headers.get("allow").split(", ").sort(), allowed.sort(), what);
    },
  ));

test("a body that is no JSON is refused where JSON is taken", () =>
  each(
    (operation) => operation.requestBody?.content["application/json"],
    async (operation, what) => {
      for (const [body, code] of [["{", "bad_json"], ["[]", "bad_json"], ['"x"', "bad_json"]]) {
        const answer = await installation.call(operation.method, pathOf(operation), { as: actorFor(operation), body });
        refused(answer, 400, code, `${what} ${body}`);
      }
    },
  ));

test("a body is refused where none is taken", () =>
  each(
    (operation) => operation.requestBody === undefined && operation.method !== "GET",
    async (operation, what) => {
      const answer = await installation.call(operation.method, pathOf(operation), { as: actorFor(operation), body: "{}" });
      refused(answer, 400, "unexpected_body", what);
    },
  ));

test("a field that nobody knows is refused where people write", () =>
  each(
    (operation) => operation.requestBody?.content["application/json"]?.schema.$ref,
    async (operation, what) => {
      const body = { no_such_field: 1 };
      const answer = await installation.call(operation.method, pathOf(operation), { as: actorFor(operation), body });
      refused(answer, 422, "unknown_field", what);
    },
  ));

test("a workspace that does not exist, or is no id at all, is not found", () =>
  each(
    (operation) => operation.path.startsWith("/v1/workspaces/{id}") && operation.requestBody?.required !== true,
    async (operation, what) => {
      for (const id of ["aaaaaaaaaa", "x"]) {
        const path = pathOf(operation).replace(workspace, id);
        refused(await installation.call(operation.method, path, { as: installation.owner }), 404, "not_found", what);
      }
    },
  ));

test("every answer names its request and forbids what browsers should not do", () =>
  each(
    (operation) => operation.method === "GET",
    async (operation, what) => {
      const { headers } = await installation.call("GET", pathOf(operation), { as: actorFor(operation) });
      assert.ok(headers.get("x-request-id"), what);
      assert.equal(headers.get("x-content-type-options"), "nosniff", what);
    },
  ));

test("a path that no route has is not found, for everybody alike", async () => {
  for (const path of ["/v1", "/v1/nothing", "/v1/workspaces/", `/v1/workspaces/${workspace}/nothing`]) {
    refused(await installation.call("GET", path), 404, "not_found", path);
  }
});

test("HEAD is GET without a body", async () => {
  const { status, text } = await installation.call("HEAD", "/v1/workspaces", { as: installation.owner });
  assert.deepEqual([status, text], [200, ""]);
});
