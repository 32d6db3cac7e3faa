// Opens a real Chromium for the dashboard tests. It must never speak to anything but the addresses under test.

import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

const inPath = () => {
  for (const directory of (process.env.PATH ?? "").split(delimiter)) {
    const found = NAMES.map((name) => join(directory, name)).find((file) => existsSync(file));
    if (found) return found;
  }
  throw new Error(`no browser in PATH: install one of ${NAMES.join(", ")}`);
};

/** A browser without background traffic of its own. Root has no user namespace for Chromium's sandbox. */
export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? inPath(),
    args: [
      "--disable-gpu",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
    ],
  });

/** Collects what a page complains about: script errors, and whatever the Content-Security-Policy refused. */
export const complaints = (page, heard = []) => {
  page.on("pageerror", (error) => heard.push(`script: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" && /Content Security Policy|Refused to/.test(message.text())) {
      heard.push(`policy: ${message.text()}`);
    }
  });
  return heard;
};
