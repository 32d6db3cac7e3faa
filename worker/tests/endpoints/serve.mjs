// An installation for programs that come over the network: prints its address, the owner token and a workspace's id, and
// serves until its input ends.

import { install } from "./installation.mjs";

// Whoever asks thousands of times from one address asks for something else than the rate limit.
const installation = await install({ host: "127.0.0.1", port: 0, ratelimits: {} });
const { id } = await installation.workspace({ name: "served" });
console.log(`${await installation.url()} ${installation.ownerToken} ${id}`);
process.stdin.resume();
process.stdin.on("end", () => installation.end());
