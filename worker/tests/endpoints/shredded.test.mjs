// A workspace whose days to undo are over: its key is gone, and nothing pretends otherwise.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Response } from "miniflare";
import { install } from "./installation.mjs";

const EMPTY = {
  ...Object.fromEntries(["servers", "images", "primary_ips", "firewalls", "ssh_keys"].map((name) => [name, []])),
  meta: { pagination: { page: 1, per_page: 50, previous_page: null, next_page: null, last_page: 1, total_entries: 0 } },
  success: true,
  errors: [],
  result: [],
  result_info: { page: 1, per_page: 100, count: 0, total_count: 0, total_pages: 1 },
};

/** Vendors at which nothing exists and nothing can be made. */
function vendors({ method }) {
  if (method === "GET") return new Response(JSON.stringify(EMPTY), { headers: { "content-type": "application/json" } });
  return new Response("{}", { status: 503 });
}

async function eventually(what, probe) {
  const ends = Date.now() + 60_000;
  for (;;) {
    const seen = await probe();
    if (seen === true) return;
    assert.ok(Date.now() < ends, `waited in vain for ${what}; last seen: ${seen}`);
  }
}

test("a restore kit of a shredded workspace is refused, and no key is made for it", async () => {
  const policy = { undo: "1s", gone_after_create: "1s", retry_base: "1s", retry_cap: "1s", poll: "1s" };
  const installation = await install({ policy, outboundService: vendors });
  const ask = (method, path, body) => installation.call(method, path, { as: installation.owner, body });
  try {
    const { id } = await installation.workspace({ name: "gone" });
    const path = `/v1/workspaces/${id}`;
    assert.equal((await ask("DELETE", `${path}?discard=true`)).status, 202);
    await eventually("its keys to be shredded", async () => {
      const { json, text } = await ask("GET", `${path}/events`);
      return json?.events?.some(({ code }) => code === "keys_shredded") || text;
    });
    const { status, json } = await ask("POST", `${path}/restore-kit`);
    assert.equal(status, 409);
    assert.equal(json.code, "keys_shredded");
    assert.match(json.hint, /that was made before/);
    const bucket = await installation.bucket();
    assert.equal(await bucket.head(`workspaces/owner/${id}/key.json`), null);
  } finally {
    await installation.end();
  }
});
