"use strict";
// The terminal of an Ebbtide workspace: xterm.js in front of one client of tmux. A binary message begins with 1 where
// somebody typed or pointed, and with 0 where xterm.js answers a program's question by itself: only the first is a person.
(() => {
  const LONGEST_PAUSE = 30_000;
  const HUMAN_FOR = 1_000;
  const place = document.getElementById("terminal");
  const notice = document.getElementById("notice");
  const control = document.getElementById("control");
  const terminal = new Terminal({
    allowProposedApi: false,
    cursorBlink: true,
    fontFamily: "ui-monospace, 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    fontSize: 14,
    macOptionIsMeta: true,
    scrollback: 5000,
    theme: { background: "#11151c", foreground: "#d7dde6", cursor: "#8ab4ff", selectionBackground: "#3d5a8a" },
  });
  const fit = new FitAddon.FitAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(new WebLinksAddon.WebLinksAddon());
  // A program may put text into the clipboard, as tmux does with a selection; it may not read what is there.
  const clipboard = { readText: () => "", writeText: (_, text) => navigator.clipboard?.writeText(text) };
  terminal.loadAddon(new ClipboardAddon.ClipboardAddon(undefined, clipboard));
  terminal.open(place);

  let socket;
  let pause = 500;
  let timer;
  let acted = -Infinity;
  const encoder = new TextEncoder();

  const tell = (text) => {
    notice.firstElementChild.textContent = text;
    notice.hidden = !text;
  };
  const is_open = () => socket?.readyState === WebSocket.OPEN;
  const send = (bytes) => {
    if (!is_open()) return;
    const message = new Uint8Array(bytes.length + 1);
    message[0] = performance.now() - acted < HUMAN_FOR ? 1 : 0;
    message.set(bytes, 1);
    socket.send(message);
  };
  const resized = () => {
    fit.fit();
    if (is_open()) socket.send(JSON.stringify({ cols: terminal.cols, rows: terminal.rows }));
  };

  for (const act of ["keydown", "beforeinput", "compositionend", "paste", "pointerdown", "wheel", "touchmove"]) {
    document.addEventListener(act, () => { acted = performance.now(); }, { capture: true, passive: true });
  }
  terminal.onData((text) => {
    const code = text.length === 1 ? text.toLowerCase().charCodeAt(0) : 0;
    if (control.getAttribute("aria-pressed") === "true" && code >= 64 && code < 128) {
      control.setAttribute("aria-pressed", "false");
      return send(Uint8Array.of(code & 31));
    }
    send(encoder.encode(text));
  });
  terminal.onBinary((text) => send(Uint8Array.from(text, (char) => char.charCodeAt(0))));
  terminal.onTitleChange((title) => { document.title = title ? `${title} · Terminal` : "Terminal"; });
  new ResizeObserver(resized).observe(place);

  document.getElementById("keys").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { keys, arrow } = button.dataset;
    if (button === control) {
      control.setAttribute("aria-pressed", String(control.getAttribute("aria-pressed") !== "true"));
    } else {
      const cursor = terminal.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[";
      send(encoder.encode(arrow ? cursor + arrow : keys));
    }
    terminal.focus();
  });

  // Why the door is shut, in its own words: a handshake that fails does not say.
  const ask_why = async () => {
    try {
      const answer = await fetch("/", { cache: "no-store" });
      if (answer.ok) return "";
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      return page.querySelector("p")?.textContent ?? `The workspace answers ${answer.status}.`;
    } catch {
      return "The workspace cannot be reached: it sleeps, or your network is away.";
    }
  };
  const later = () => {
    clearTimeout(timer);
    // Nobody looks: it is tried again once somebody does.
    if (document.hidden) return;
    timer = setTimeout(connect, pause);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  };
  function connect() {
    clearTimeout(timer);
    if (socket && socket.readyState <= WebSocket.OPEN) return;
    fit.fit();
    const url = new URL("/socket", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = `cols=${terminal.cols}&rows=${terminal.rows}`;
    const mine = new WebSocket(url);
    socket = mine;
    mine.binaryType = "arraybuffer";
    mine.onopen = () => {
      pause = 500;
      tell("");
      terminal.reset();
      terminal.focus();
    };
    mine.onmessage = ({ data }) => terminal.write(new Uint8Array(data));
    mine.onclose = async ({ code, reason }) => {
      if (mine !== socket) return;
      // The shell has ended, by the word of whoever sat here: they say when to begin anew.
      if (code === 1000) return tell(reason || "Disconnected.");
      tell(reason || "Reconnecting…");
      if (!reason) {
        const why = await ask_why();
        if (mine !== socket) return;
        if (why) tell(why);
      }
      later();
    };
  }
  const now = () => { pause = 500; connect(); };
  document.getElementById("again").addEventListener("click", now);
  window.addEventListener("online", now);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !is_open()) now(); });
  connect();
})();
