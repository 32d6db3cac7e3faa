// What the Workers runtime calls, around the bindings of the module.
//
// A panic in the module is a trap: its memory stays as it was in the middle of something, locks held and all. The call
// that trapped fails; the next one, from whomever, resets the module first, and every object that lived in the old
// memory is made again from its storage, as after an eviction.
import { WorkerEntrypoint } from "cloudflare:workers";
import {
  ProviderGate as ProviderGateInModule,
  WorkspaceObject as WorkspaceObjectInModule,
  __wbg_reset_state as resetModule,
  __worker_init_state as moduleState,
  fetch as handleFetch,
  scheduled as handleScheduled,
} from "./index.js";

Error.stackTraceLimit = 100;
// Shared with the module, whose panic hook sets `criticalError`; `instanceId` counts the memories it has had.
const state = moduleState();

function ready() {
  if (!state.criticalError) return;
  console.log("the module has panicked: it begins anew");
  resetModule();
  state.criticalError = false;
  state.instanceId += 1;
}

function note(error) {
  if (!(error instanceof WebAssembly.RuntimeError)) return;
  console.error("Critical", error);
  state.criticalError = true;
}

async function guarded(call) {
  ready();
  try {
    return await call();
  } catch (error) {
    note(error);
    throw error;
  }
}

// What is thrown where nobody waits: a timer, a promise of the module's own.
addEventListener("error", (event) => note(event.error));

export default class extends WorkerEntrypoint {
  fetch(request) {
    return guarded(() => handleFetch.call(this, request, this.env, this.ctx));
  }

  scheduled(event) {
    return guarded(() => handleScheduled.call(this, event, this.env, this.ctx));
  }
}

// A class of the module as the runtime may keep it: the object in the module is made again after every reset, because
// its memory went with the module's.
function durable(InModule) {
  return class {
    #state;
    #env;
    #inner;
    #madeIn;

    constructor(objectState, env) {
      this.#state = objectState;
      this.#env = env;
      ready();
      this.#now();
    }

    #now() {
      if (this.#madeIn !== state.instanceId) {
        try {
          this.#inner = new InModule(this.#state, this.#env);
        } catch (error) {
          // Half made, it must not be called: whatever it was, the next call begins with fresh memory.
          state.criticalError = true;
          throw error;
        }
        this.#madeIn = state.instanceId;
      }
      return this.#inner;
    }

    static {
      // What the module's class answers to, but for what the bindings put there for themselves.
      const own = new Set(["constructor", "free", "__destroy_into_raw"]);
      for (const method of Object.getOwnPropertyNames(InModule.prototype)) {
        if (own.has(method)) continue;
        this.prototype[method] = function (...values) {
          return guarded(() => this.#now()[method](...values));
        };
      }
    }
  };
}

export const WorkspaceObject = durable(WorkspaceObjectInModule);
export const ProviderGate = durable(ProviderGateInModule);
