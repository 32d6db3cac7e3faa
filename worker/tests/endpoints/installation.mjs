// The built Worker in workerd, with a real D1, R2 and Durable Objects in memory, and actors that call it.
//
// No network: the provider of machines answers 503 to every call, so that workspaces stay in "provisioning". What a
// machine would say is said with a token signed by the installation's own key.
// Build first: scripts/build-worker ci. `miniflare` is what wrangler runs itself; nothing here pins it.

import { createPrivateKey, sign } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { Miniflare, Response, convertV4MiniflareOptions } from "miniflare";

const root = new URL("../../../", import.meta.url);
const build = new URL("worker/build/", root);
/** As in wrangler.toml. */
export const OPEN_LIMIT = 60;
const OWNER_TOKEN = "an-owner-token-for-endpoint-tests";
const TOKEN_SEED = Buffer.alloc(32, 9);

/**
 * Starts an installation of its own, by this policy: nothing is shared between two. `more` is for miniflare, such as a port.
 */
export async function install({ policy = {}, ...more } = {}) {
  const options = convertV4MiniflareOptions({
    modules: await modules(),
    modulesRoot: build.pathname,
    compatibilityDate: "2026-10-01",
    d1Databases: ["DB"],
    ratelimits: { OPEN_LIMIT: { namespace_id: "1001", simple: { limit: OPEN_LIMIT, period: 60 } } },
    r2Buckets: ["BUCKET"],
    durableObjects: {
      WORKSPACE: { className: "WorkspaceObject", useSQLite: true },
      PROVIDER_GATE: { className: "ProviderGate", useSQLite: true },
    },
    bindings: {
      CONTROL_URL: "http://ebb.test",
      INSTALL_ID: "test",
      ZONE: "ebb.test",
      ZONE_ID: "z1",
      HETZNER_URL: "http://hetzner.test/v1",
      CLOUDFLARE_URL: "http://cloudflare.test/client/v4",
      PORT_URL_TEMPLATE: "http://{host}",
      LOG: "error",
      // Nobody says what a machine costs, so that no cap on spending could be kept.
      POLICY: JSON.stringify({ spend_per_day: null, spend_per_month: null, ...policy }),
      OWNER_TOKEN,
      HETZNER_TOKEN: "h",
      CLOUDFLARE_TOKEN: "c",
      MASTER_KEYS: `m1:${Buffer.alloc(32).map((_, place) => place).toString("base64")}`,
      TOKEN_KEYS: `t1:${TOKEN_SEED.map((byte, place) => byte + place).toString("base64")}`,
    },
    outboundService: () => new Response("{}", { status: 503 }),
    ...more,
  });
  const miniflare = new Miniflare(options);
  const database = await miniflare.getD1Database("DB");
  await migrate(database);
  return new Installation(miniflare, database);
}

/** What wrangler would upload: the script and the WebAssembly that it imports. */
async function modules() {
  const names = (await readdir(build, { recursive: true })).filter((name) => /\.(js|wasm)$/.test(name));
  names.sort((a, b) => (b === "index.js") - (a === "index.js"));
  return Promise.all(
    names.map(async (name) => ({
      type: name.endsWith(".wasm") ? "CompiledWasm" : "ESModule",
      path: new URL(name, build).pathname,
      contents: await readFile(new URL(name, build), name.endsWith(".wasm") ? undefined : "utf8"),
    })),
  );
}

async function migrate(database) {
  const folder = new URL("migrations/", root);
  for (const name of (await readdir(folder)).sort()) {
    const text = (await readFile(new URL(name, folder), "utf8")).replaceAll(/--.*$/gm, "");
    const statements = text.split(";").map((sql) => sql.trim()).filter((sql) => sql !== "");
    await database.batch(statements.map((sql) => database.prepare(sql)));
  }
}

class Installation {
  #miniflare;
  ownerToken = OWNER_TOKEN;

  constructor(miniflare, database) {
    this.#miniflare = miniflare;
    this.database = database;
    this.owner = bearer(OWNER_TOKEN);
  }

  /** Where it listens. */
  url() {
    return this.#miniflare.ready;
  }

  /** What is stored. */
  bucket() {
    return this.#miniflare.getR2Bucket("BUCKET");
  }

  /** Ends it, with all that it holds. */
  end() {
    return this.#miniflare.dispose();
  }

  /** Sends a request, for an actor or for nobody. A body that is no text is sent as JSON. */
  async call(method, path, { as = {}, body, headers = {} } = {}) {
    const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    const response = await this.#miniflare.dispatchFetch(`http://ebb.test${path}`, {
      method,
      headers: { ...as, ...headers },
      body: text,
      redirect: "manual",
    });
    const said = await response.text();
    const isJson = said !== "" && response.headers.get("content-type")?.startsWith("application/json");
    return { status: response.status, headers: response.headers, text: said, json: isJson ? JSON.parse(said) : null };
  }

  /** A program with these scopes; none at all is what a restore kit's key has. */
  async member(...scopes) {
    const body = { label: scopes.join(" "), scopes: scopes.length === 0 ? ["read"] : scopes };
    const { json } = await this.call("POST", "/v1/keys", { as: this.owner, body });
    if (scopes.length === 0) {
      await this.database.prepare("UPDATE api_keys SET scopes = '' WHERE id = ?1").bind(json.info.id).run();
    }
    return bearer(json.key);
  }

  /** Creates a workspace, which stays in "provisioning". */
  async workspace(body = {}) {
    const { json } = await this.call("POST", "/v1/workspaces", { as: this.owner, body });
    return json;
  }

  /** The machine of a workspace, by its token. */
  machine(workspace, generation = 1) {
    return bearer(this.token("vm", { workspace, generation, tenant: "owner" }));
  }

  /** The socket of a machine. */
  async connect(machine) {
    const headers = { ...machine, upgrade: "websocket" };
    const { webSocket } = await this.#miniflare.dispatchFetch("http://ebb.test/v1/vm/connect", { headers });
    webSocket.accept();
    return webSocket;
  }

  /** A token of this installation. */
  token(audience, claims) {
    const now = Math.floor(Date.now() / 1000);
    const head = { alg: "EdDSA", kid: "t1", typ: "JWT" };
    const body = { iat: now, exp: now + 300, iss: "test", aud: audience, ...claims };
    const message = [head, body].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    return `${message}.${sign(null, Buffer.from(message), signingKey()).toString("base64url")}`;
  }
}

function bearer(token) {
  return { authorization: `Bearer ${token}` };
}

function signingKey() {
  const seed = TOKEN_SEED.map((byte, place) => byte + place);
  // PKCS #8 of an Ed25519 key: a fixed head, then the seed.
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
}

/** What a machine sends to enrol, with its key pair and the token that it has or none. */
export function enrolment({ privateKey, publicKey }, { workspace, generation = 1, token = "" }) {
  const message = `ebbtide-enrol-v1\n${workspace}\n${generation}\n${token}`;
  return {
    workspace,
    generation,
    enrolment_token: token,
    agent_version: "test",
    machine_key: publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64"),
    signature: sign(null, Buffer.from(message), privateKey).toString("base64"),
  };
}
