// Keeps a page up to date while somebody looks at it. Every page works without this file. Needs idiomorph.js before it.
//
// An element with `data-live="URL"` is fetched again and its `.live` child is brought up to date in place, so that
// focus, selection and unfolded details stay. `data-refresh` on `.live` says how often, in milliseconds; 0 means only
// when the tab is looked at again. Nothing is fetched while the tab is hidden, and none of it counts as activity.
"use strict";

(() => {
  const SLOWEST_RETRY_MS = 15000;
  const ANSWER_WITHIN_MS = 10000;

  // ---- what a refresh leaves alone ----

  // Folded and unfolded by hand: the page does not fold it back.
  const touched = new WeakSet();
  const callbacks = { beforeAttributeUpdated: (name, node) => !(name === "open" && touched.has(node)) };

  // ---- times in the reader's own zone: a clock's text, and what is behind "3m ago" ----

  const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

  const localise = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time[time.classList.contains("clock") ? "textContent" : "title"] = clock.format(at);
    }
  };

  const get = (url) =>
    fetch(url, { credentials: "same-origin", redirect: "error", signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });

  const parse = (text) => new DOMParser().parseFromString(text, "text/html");

  // ---- live pages ----

  const follow = (holder) => {
    const offline = document.getElementById("offline");
    let heardAt = Date.now();
    let failures = 0;
    let timer = 0;
    let busy = false;

    const pause = () => {
      const live = holder.querySelector(".live");
      const usual = Number(live?.dataset.refresh ?? 0);
      return failures === 0 ? usual : Math.min(1000 * 2 ** failures, SLOWEST_RETRY_MS);
    };

    const plan = () => {
      clearTimeout(timer);
      const wait = pause();
      if (wait > 0 && document.visibilityState === "visible") timer = setTimeout(look, wait);
    };

    const tell = () => {
      if (!offline) return;
      // One lost answer is no news.
      offline.hidden = failures < 2;
      if (failures >= 2) {
        const secs = Math.round((Date.now() - heardAt) / 1000);
        offline.textContent = `The connection is lost. This page shows what was known ${secs}s ago; trying again.`;
      }
    };

    const show = (text) => {
      const want = parse(text).querySelector(".live");
      const have = holder.querySelector(".live");
      if (!want || !have) return;
      localise(want);
      const focused = holder.contains(document.activeElement) ? document.activeElement : null;
      Idiomorph.morph(have, want, { callbacks });
      // A button that is gone must not take the keyboard's place with it.
      if (focused && !focused.isConnected) document.getElementById("main")?.focus({ preventScroll: true });
    };

    const look = async () => {
      if (busy) return;
      busy = true;
      try {
        const answer = await get(holder.dataset.live);
        // Signed out, or gone: the whole page says so better than a part of it.
        if ([401, 403, 404, 410].includes(answer.status)) return location.reload();
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        show(await answer.text());
        heardAt = Date.now();
        failures = 0;
      } catch {
        failures += 1;
      } finally {
        busy = false;
      }
      tell();
      plan();
    };

    document.addEventListener("visibilitychange", () => {
      clearTimeout(timer);
      if (document.visibilityState === "visible") look();
    });
    plan();
  };

  // ---- the cost of what is chosen, while it is chosen ----

  const quote = (form) => {
    const cost = document.getElementById("cost");
    if (!cost) return;
    for (const button of form.querySelectorAll("[formmethod=get]")) button.hidden = true;
    let latest = 0;
    const ask = async () => {
      const turn = ++latest;
      const chosen = new URLSearchParams();
      for (const name of ["size", "location", "lifetime"]) chosen.set(name, form.elements[name]?.value ?? "");
      cost.setAttribute("aria-busy", "true");
      try {
        const answer = await get(`${form.dataset.quote}?${chosen}`);
        const text = await answer.text();
        if (answer.ok && turn === latest) cost.replaceChildren(...parse(text).body.childNodes);
      } catch {
        // The form works without it; the server says the cost again when it is sent.
      } finally {
        if (turn === latest) cost.removeAttribute("aria-busy");
      }
    };
    form.addEventListener("change", (event) => {
      if (["size", "location", "lifetime"].includes(event.target.name)) ask();
    });
  };

  // ---- a form is sent once ----

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.hasAttribute("aria-busy")) return event.preventDefault();
    form.setAttribute("aria-busy", "true");
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[aria-busy]")) form.removeAttribute("aria-busy");
  });

  document.addEventListener("click", (event) => {
    const summary = event.target.closest?.("summary");
    if (summary) touched.add(summary.parentElement);
  });

  localise(document);
  for (const holder of document.querySelectorAll("[data-live]")) follow(holder);
  for (const form of document.querySelectorAll("form[data-quote]")) quote(form);
})();
