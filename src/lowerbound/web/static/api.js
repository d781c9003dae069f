// Questions to the server: JSON by POST, the latest of a kind alone, and again when the server has come back.

import { h } from "./dom.js";

const client = Array.from(crypto.getRandomValues(new Uint32Array(2)), (part) => part.toString(36)).join("");
const RETRY = 2000; // milliseconds
/** @type {Set<(gone: boolean) => void>} */
const listeners = new Set();
let gone = false;

export class Refused extends Error {}

/** Call a function when the server has gone, and when it is back. @param {(gone: boolean) => void} listener */
export function onGone(listener) {
  listeners.add(listener);
}

function say(now) {
  if (now === gone) return;
  gone = now;
  listeners.forEach((listener) => listener(now));
}

/**
 * Ask the server; waits for one that has gone.
 * @param {string} name
 * @param {Record<string, any>} [body]
 * @returns {Promise<any>} null where a later question has taken its place.
 */
export async function ask(name, body = {}) {
  for (;;) {
    let response;
    try {
      response = await fetch(`/api/${name}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ ...body, client }) });
    } catch {
      say(true);
      await new Promise((resolve) => setTimeout(resolve, RETRY));
      continue;
    }
    say(false);
    if (response.status === 409) return null;
    if (response.ok) return response.json();
    const text = await response.text();
    let reason = text;
    try {
      reason = JSON.parse(text).error ?? text;
    } catch { /* plain text */ }
    throw new Refused(reason);
  }
}

/**
 * Do what shows something in an element; where it fails the element says why.
 * @param {any} element
 * @param {() => Promise<any>} work
 */
export async function within(element, work) {
  try {
    await work();
  } catch (error) {
    element.replaceChildren(reason(error));
  }
}

/** Why there is no answer. @param {any} error */
export function reason(error) {
  return h("p", { class: "note", role: "alert" }, error.message);
}

/**
 * A function that asks one question at a time; of those that come meanwhile only the last is asked.
 * @param {string} name
 * @param {(answer: any, body: any) => void} use
 * @param {(error: Error) => void} [fail]
 */
export function latest(name, use, fail = () => {}) {
  let busy = false;
  let next = null;
  const run = async (body) => {
    if (busy) {
      next = body;
      return;
    }
    busy = true;
    try {
      const answer = await ask(name, body);
      if (answer !== null) await use(answer, body);
    } catch (error) {
      fail(/** @type {Error} */ (error));
    } finally {
      busy = false;
    }
    if (next !== null) {
      const later = next;
      next = null;
      run(later);
    }
  };
  return run;
}
