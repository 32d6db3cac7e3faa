// The dashboard as a person uses it, in a real Chromium, against a running system (`scripts/dev`, or what the system
// tests start): signs in, is refused where it should be, creates a workspace, watches it live, puts it to sleep, wakes
// and deletes it. Nothing is replaced.
//
// Run with: EBBTIDE_URL=http://127.0.0.1:8787 EBBTIDE_OWNER_TOKEN_FILE=file node --test system-tests/tests/browser/dashboard.test.mjs
// Optional: EBBTIDE_DEMO_REPO (an address that machines can clone; an empty workspace otherwise),
//           EBBTIDE_OPEN (`{workspace id} {port} {text}`: something serves that text there; it is opened in a new tab),
//           EBBTIDE_SHOTS (a directory for pictures of what was seen).

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { complaints, launch } from "./browser.mjs";

const { EBBTIDE_URL, EBBTIDE_OWNER_TOKEN_FILE, EBBTIDE_DEMO_REPO, EBBTIDE_OPEN, EBBTIDE_SHOTS } =
  process.env;
assert.ok(EBBTIDE_URL && EBBTIDE_OWNER_TOKEN_FILE, "EBBTIDE_URL and EBBTIDE_OWNER_TOKEN_FILE name the system under test");
const SLOW = 240_000;

let browser;
let context;
let page;
let heard;
let workspace;
let terminal;

before(async () => {
  browser = await launch();
  context = await browser.newContext({ baseURL: EBBTIDE_URL, viewport: { width: 1280, height: 900 } });
  page = await context.newPage();
  heard = complaints(page);
});

after(async () => {
  await browser?.close();
});

const token = async () => (await readFile(EBBTIDE_OWNER_TOKEN_FILE, "utf8")).trim();

const shot = async (name) => {
  if (!EBBTIDE_SHOTS) return;
  await mkdir(EBBTIDE_SHOTS, { recursive: true });
  await page.screenshot({ path: join(EBBTIDE_SHOTS, `${name}.png`), fullPage: true });
};

const state = () => page.locator("h1 .pill").textContent();

/** Waits for one of some states, without ever reloading: the page brings itself up to date. */
const becomes = async (...words) => {
  await page.waitForFunction(
    (wanted) => wanted.includes(document.querySelector("h1 .pill")?.textContent),
    words,
    { timeout: SLOW },
  );
};

test("nobody sees anything before signing in, and the wrong token signs nobody in", async () => {
  await page.goto("/new");
  assert.match(page.url(), /\/signin\?next=/);
  await page.fill("#token", "this-is-not-the-owner-token");
  await page.click("main button");
  assert.match(await page.textContent("[role=alert]"), /not the owner token/);
  assert.equal((await context.cookies(EBBTIDE_URL)).length, 0);
  assert.equal((await page.request.get("/w/aaaaaaaaaa/live")).status(), 401);
  await shot("sign-in-refused");
});

test("the owner token signs in and leads on to where one wanted to go", async () => {
  await page.goto("/new");
  await page.fill("#token", await token());
  await page.click("main button");
  await page.waitForURL("**/new");
  const [cookie] = await context.cookies(EBBTIDE_URL);
  assert.equal(cookie.name, "__Host-ebbtide");
  assert.equal(cookie.httpOnly && cookie.secure && cookie.sameSite === "Lax" && cookie.path === "/", true);
  assert.equal(await page.evaluate(() => document.cookie), "");
});

test("every page forbids scripts of others, frames and caches, and breaks none of its own rules", async () => {
  for (const path of ["/", "/new", "/nothing-here"]) {
    const answer = await page.goto(path);
    assert.match(answer.headers()["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/);
    assert.equal(answer.headers()["cache-control"], "no-store");
  }
  assert.equal((await page.goto("/nothing-here")).status(), 404);
  await page.goto("/");
  const style = await page.getAttribute("link[rel=stylesheet]", "href");
  const sheet = await page.request.get(style);
  assert.match(sheet.headers()["cache-control"], /immutable/);
  const again = await page.request.get(style, { headers: { "if-none-match": sheet.headers().etag } });
  assert.equal(again.status(), 304);
});

test("what cannot be created is refused beside its field, with typed values kept", async () => {
  await page.goto("/new");
  await page.fill("#repo", "file:///etc");
  await page.fill("#name", "kept-name");
  await page.click("main button.primary");
  assert.ok((await page.textContent("#repo-refusal")).length > 10);
  assert.equal(await page.inputValue("#repo"), "file:///etc");
  assert.equal(await page.inputValue("#name"), "kept-name");
  await page.fill("#repo", "");
  await page.fill("#idle_timeout", "soon");
  await page.click("main button.primary");
  assert.match(await page.textContent("#idle_timeout-refusal"), /not a valid duration/);
  await shot("create-refused");
});

test("the worst case is shown, and follows what is chosen", async () => {
  await page.goto("/new");
  const amount = () => page.textContent("#cost .amount");
  const day = await amount();
  assert.match(day, /^€\d/);
  await page.fill("#lifetime", "1h");
  await page.locator("#lifetime").blur();
  await page.waitForFunction((before) => document.querySelector("#cost .amount").textContent !== before, day);
  assert.ok(Number((await amount()).slice(1)) < Number(day.slice(1)));
});

test("a form without the session's proof, or from another site, changes nothing", async () => {
  const without = await page.request.post("/new", { form: { name: "forged" }, maxRedirects: 0 });
  assert.equal(without.status(), 403);
  await page.goto("/new");
  const csrf = await page.inputValue("main input[name=csrf]");
  const elsewhere = await page.request.post("/new", {
    form: { name: "forged", csrf },
    headers: { origin: "https://evil.example" },
    maxRedirects: 0,
  });
  assert.equal(elsewhere.status(), 403);
  assert.match(await elsewhere.text(), /csrf_mismatch/);
  await page.goto("/");
  assert.equal(await page.getByText("forged").count(), 0);
});

test("a workspace is created and its page shows it coming up by itself", async () => {
  await page.goto("/new");
  if (EBBTIDE_DEMO_REPO) await page.fill("#repo", EBBTIDE_DEMO_REPO);
  await page.fill("#name", "from-browser");
  await page.fill("#idle_timeout", "30m");
  await page.click("main button.primary");
  await page.waitForURL(/\/w\/[a-z2-7]{10}$/);
  workspace = new URL(page.url()).pathname;
  await becomes("Provisioning", "Booting", "Running");
  await shot("coming-up");
  await becomes("Booting", "Running");
  assert.ok((await page.locator(".timeline li").count()) >= 1);
  assert.match(await page.textContent("#facts"), /Cost at worst/);
  await shot("booting");
});

test("sending the same form twice makes one workspace", async () => {
  await page.goto("/new");
  const form = await page.locator("main form").evaluate((element) => Object.fromEntries(new FormData(element)));
  const send = () => page.request.post("/new", { form: { ...form, name: "only-once" }, maxRedirects: 0 });
  const first = await send();
  const second = await send();
  assert.equal(first.status(), 303);
  assert.equal(second.headers().location, first.headers().location);
  await page.goto(`${first.headers().location}/delete`);
  await page.click("main button.danger");
});

test("it runs, says why it is awake, and can be held and let go", async () => {
  await page.goto(workspace);
  await becomes("Running");
  await page.waitForSelector("#why", { timeout: SLOW });
  await page.click("#do-hold");
  await page.waitForSelector("#holds li");
  await shot("running");
  await page.click("#holds button");
  await page.waitForFunction(() => !document.querySelector("#holds"));
});

test("its terminal opens in a new tab, carries what is typed, and fits a phone", async () => {
  await page.goto(workspace);
  [terminal] = await Promise.all([context.waitForEvent("page"), page.click("#open-terminal")]);
  complaints(terminal, heard);
  const rows = terminal.locator(".xterm-rows");
  await rows.getByText("$").first().waitFor({ timeout: SLOW });
  assert.ok(!terminal.url().includes("ebb_access"), "the token does not stay in the address");
  await terminal.keyboard.type("echo $((6*7))-$USER-$(tput cols) grüß\n");
  await rows.getByText(/42-ebb-\d+ grüß/).waitFor({ timeout: SLOW });
  await terminal.screenshot({ path: EBBTIDE_SHOTS ? join(EBBTIDE_SHOTS, "terminal.png") : undefined });

  await terminal.setViewportSize({ width: 390, height: 844 });
  await terminal.waitForFunction(() => document.documentElement.scrollWidth <= 390);
  const wide = await rows.getByText(/42-ebb-\d+/).first().textContent();
  await terminal.keyboard.type("clear; echo cols-$(tput cols)\n");
  const narrow = await rows.getByText(/cols-\d+/).first().textContent({ timeout: SLOW });
  assert.ok(Number(narrow.match(/cols-(\d+)/)[1]) < Number(wide.match(/42-ebb-(\d+)/)[1]), `${wide} ${narrow}`);
  await terminal.screenshot({ path: EBBTIDE_SHOTS ? join(EBBTIDE_SHOTS, "terminal-phone.png") : undefined });

  const stranger = await browser.newContext();
  const refused = await (await stranger.newPage()).goto(terminal.url());
  assert.equal(refused.status(), 401);
  await stranger.close();
});

test("it is put to sleep and woken again", { timeout: 2 * SLOW }, async () => {
  await page.goto(workspace);
  await page.click("#do-sleep");
  await becomes("Backing up", "Destroying", "Asleep");
  await terminal.waitForFunction(
    () => /sleep|reached/.test(document.getElementById("notice").textContent),
    undefined,
    { timeout: SLOW },
  );
  await terminal.close();
  await shot("draining");
  await becomes("Asleep");
  assert.match(await page.textContent("#backup"), /verified/);
  await shot("asleep");
  await page.click("#do-wake");
  await becomes("Running");
});

test("a port opens in a new tab, for the owner alone", { skip: !EBBTIDE_OPEN }, async () => {
  const [id, port, ...words] = EBBTIDE_OPEN.split(" ");
  await page.goto(`/w/${id}`);
  await page.waitForSelector(`#port-${port} a`, { timeout: SLOW });
  const [tab] = await Promise.all([context.waitForEvent("page"), page.click(`#port-${port} a`)]);
  await tab.getByText(words.join(" ")).waitFor();
  assert.ok(!tab.url().includes("ebb_access"), "the token does not stay in the address");
  const stranger = await browser.newContext();
  const refused = await (await stranger.newPage()).goto(tab.url());
  assert.ok(refused.status() >= 400 && refused.status() < 500, `${refused.status()}`);
  await stranger.close();
  await tab.close();
});

test("the overview lists it with its state, backup and cost", async () => {
  await page.goto("/");
  const row = page.locator(".row", { hasText: "from-browser" });
  assert.equal(await row.count(), 1);
  assert.match(await row.textContent(), /Cost at worst/);
  await shot("overview");
  await row.locator("a").first().click();
  await page.waitForURL(`**${workspace}`);
});

test("it is deleted only after its page has said what that means, and can be taken back", async () => {
  await page.goto(workspace);
  await page.click("#do-delete");
  assert.match(await page.textContent(".what"), /7 days/);
  await shot("delete");
  await page.click("main button.danger");
  await page.waitForURL(`**${workspace}`);
  await becomes("Deleted");
  await shot("deleted");
  await page.click("#do-undelete");
  await becomes("Asleep");
  await page.click("#do-delete");
  await page.click("main button.danger");
  await becomes("Deleted");
});

test("it works on a phone, in the dark and without script", async () => {
  const cookies = await context.cookies();
  const phone = await browser.newContext({
    baseURL: EBBTIDE_URL,
    viewport: { width: 390, height: 844 },
    colorScheme: "dark",
    javaScriptEnabled: false,
  });
  await phone.addCookies(cookies);
  const small = await phone.newPage();
  for (const path of ["/", "/new", workspace]) {
    await small.goto(path);
    const width = await small.locator("body").evaluate((body) => body.scrollWidth);
    assert.ok(width <= 390, `${path} is ${width} wide`);
  }
  await small.goto("/new?lifetime=1h");
  await small.getByRole("button", { name: "Work out the cost" }).click();
  assert.match(await small.textContent("#cost .amount"), /^€\d/);
  await phone.close();
});

test("signing out ends the session, a copy of its cookie too, and nothing complained all the while", async () => {
  await page.goto("/");
  const copied = await context.cookies(EBBTIDE_URL);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForSelector("#token");
  assert.equal((await context.cookies(EBBTIDE_URL)).length, 0);
  await context.addCookies(copied);
  await page.goto(workspace);
  assert.match(page.url(), /\/signin\?next=/);
  assert.deepEqual(heard, []);
});
