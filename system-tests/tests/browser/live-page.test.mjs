// The script of the dashboard alone, in a real Chromium, against a server that plays the Worker: what a refresh keeps,
// when it stops, and what is said when the connection is lost. Needs nothing but the repository and its npm packages.
// Run with: node --test system-tests/tests/browser/live-page.test.mjs

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { complaints, launch } from "./browser.mjs";

const ROOT = new URL("../../../", import.meta.url);
const POLICY =
  "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

let browser;
let scripts;

before(async () => {
  const text = (path) => readFile(new URL(path, ROOT), "utf8");
  scripts = {
    "/static/idiomorph.js": await text("node_modules/idiomorph/dist/idiomorph.min.js"),
    "/static/app.js": await text("dashboard/static/app.js"),
  };
  browser = await launch();
});

after(() => browser?.close());

/** A site of one live page. `state.part` is what changes; `state.status` what its refresh answers with. */
const site = async (state, context = browser) => {
  const server = createServer((request, response) => {
    const send = (status, type, text) => {
      response.writeHead(status, { "content-type": type, "content-security-policy": POLICY });
      response.end(text);
    };
    if (scripts[request.url]) return send(200, "text/javascript", scripts[request.url]);
    if (request.url === "/live") {
      state.asked = (state.asked ?? 0) + 1;
      if (state.status === "lost") return request.socket.destroy();
      return send(state.status ?? 200, "text/html", state.part());
    }
    state.loaded = (state.loaded ?? 0) + 1;
    send(
      200,
      "text/html",
      `<!doctype html><html lang="en"><title>t</title>
       <script src="/static/idiomorph.js" defer></script><script src="/static/app.js" defer></script>
       <main id="main" tabindex="-1"><p id="offline" role="status" hidden></p>
       <div data-live="/live">${state.part()}</div></main></html>`,
    );
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const page = await context.newPage();
  const heard = complaints(page);
  await page.clock.install();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const close = async () => {
    await page.close();
    // In this order: a connection that the browser opened ahead of need would be waited for.
    const closed = new Promise((done) => server.close(done));
    server.closeAllConnections();
    await closed;
    assert.deepEqual(heard, []);
  };
  return { page, close };
};

// As long as a machine at a tenth of its speed may take.
const until = async (what, holds) => {
  const end = Date.now() + 100_000;
  while (Date.now() < end) {
    if (await holds()) return;
    await new Promise((again) => setTimeout(again, 50));
  }
  assert.fail(`never happened: ${what}`);
};

const live = (inside) => `<div class="live" data-refresh="50">${inside}</div>`;

test("a refresh brings the page up to date and keeps focus, unfolded details and untouched elements", async () => {
  let word = "booting";
  const state = {
    part: () =>
      live(`<p id="word">${word}</p>${word === "ready" ? '<p id="news">news</p>' : ""}
            <details id="more"><summary id="unfold">more</summary><p>inside</p></details>
            <button id="sleep">Sleep</button><progress id="bar" max="100" value="${word === "ready" ? 100 : 10}"></progress>`),
  };
  const { page, close } = await site(state);
  await page.click("#unfold");
  await page.focus("#sleep");
  await page.evaluate(() => (window.kept = document.getElementById("sleep")));
  word = "ready";
  await until("the new word is shown", async () => (await page.textContent("#word")) === "ready");
  assert.equal(await page.textContent("#news"), "news");
  assert.equal(await page.evaluate(() => document.activeElement.id), "sleep");
  assert.equal(await page.evaluate(() => window.kept === document.getElementById("sleep")), true);
  assert.equal(await page.evaluate(() => document.getElementById("more").open), true);
  assert.equal(await page.evaluate(() => document.getElementById("bar").value), 100);
  word = "booting";
  await until("what is gone is removed", async () => (await page.$("#news")) === null);
  await close();
});

test("a button that disappears under the focus leaves it in the page", async () => {
  let buttons = '<button id="wake">Wake</button>';
  const { page, close } = await site({ part: () => live(buttons) });
  await page.focus("#wake");
  buttons = "<p>asleep</p>";
  await until("the button is gone", async () => (await page.$("#wake")) === null);
  await until("the focus moved", async () => (await page.evaluate(() => document.activeElement.id)) === "main");
  await close();
});

test("a lost connection is said, and taken back when it returns", async () => {
  const state = { part: () => live("<p>x</p>") };
  const { page, close } = await site(state);
  assert.equal(await page.isHidden("#offline"), true);
  state.status = "lost";
  await until("it is said", () => page.isVisible("#offline"));
  assert.match(await page.textContent("#offline"), /connection is lost.*known \d+s ago/);
  state.status = 200;
  await until("it is taken back", () => page.isHidden("#offline"));
  await close();
});

test("an answer that nobody is signed in reloads the page instead of showing half of it", async () => {
  const state = { part: () => live("<p>x</p>") };
  const { close } = await site(state);
  state.status = 401;
  await until("the page is loaded again", () => state.loaded >= 2);
  // Else it goes on loading itself while it is closed.
  state.status = 200;
  await close();
});

test("a hidden tab asks for nothing, and asks at once when it is looked at again", async () => {
  const state = { part: () => live("<p>x</p>") };
  const { page, close } = await site(state);
  await until("it asks", () => state.asked >= 2);
  const show = (visibility) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "visibilityState", { configurable: true, get: () => value });
      document.dispatchEvent(new Event("visibilitychange"));
    }, visibility);
  await show("hidden");
  // One answer may still be on its way.
  await page.waitForLoadState("networkidle");
  const asked = state.asked;
  await page.clock.runFor(10_000); // two hundred refreshes, had it gone on
  assert.ok(state.asked <= asked, `${state.asked - asked} while hidden`);
  await show("visible");
  await until("it asks again", () => state.asked > asked);
  await close();
});

test("names that look like markup stay text after a refresh", async () => {
  let name = "calm";
  const { page, close } = await site({ part: () => live(`<p id="name">${name}</p>`) });
  name = "&#60;img src=x onerror=alert(1)&#62;";
  await until("the name is shown", async () => (await page.textContent("#name")).startsWith("<img"));
  assert.equal(await page.$("#name img"), null);
  await close();
});

test("points in time are shown in the reader's own zone, and stay so after a refresh", async () => {
  const context = await browser.newContext({ timezoneId: "Asia/Tokyo", locale: "en-GB" });
  let word = "first";
  const at = 'datetime="2026-11-21T18:18:33Z"';
  const { page, close } = await site(
    {
      part: () =>
        live(`<p id="word">${word}</p>
              <p id="held">Held until <time class="clock" ${at}>2026-11-21 18:18 UTC</time>: ${word}.</p>
              <p><time id="ago" ${at} title="2026-11-21 18:18 UTC">3m ago</time></p>`),
    },
    context,
  );
  const shown = async () => {
    assert.match(await page.textContent("#held"), /^Held until 22 Nov 2026, 03:18: /);
    assert.equal(await page.textContent("#ago"), "3m ago");
    assert.match(await page.getAttribute("#ago", "title"), /^22 Nov 2026, 03:18$/);
  };
  await shown();
  word = "second";
  await until("it is refreshed", async () => (await page.textContent("#word")) === "second");
  await shown();
  await close();
  await context.close();
});
