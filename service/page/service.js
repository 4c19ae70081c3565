// Requests to the service that sent this page, and the key for them.

const KEY = "segue-key";
const RETRY_S = 5; // if the service cannot be reached, or does not say when to try again

/** An answer that is an error, with the status and the reason that the service gives. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const readKey = () => sessionStorage.getItem(KEY) ?? "";
export const forgetKey = () => sessionStorage.removeItem(KEY);
export const keepKey = (key) => sessionStorage.setItem(KEY, key);

/** Return the address of *path*, under any prefix of a proxy. */
export const addressOf = (path) => new URL(path, location.href).href;

/**
 * Return the content of an answer and the milliseconds that it took.
 *
 * While the service is overloaded, has no model or cannot be reached, ask again when it says. *onWait* is then told the
 * reason and the seconds.
 */
export async function ask(path, { body, signal, onWait = () => {} }) {
  for (;;) {
    const begun = performance.now();
    const response = await fetch(addressOf(path), requestFor(body, signal)).catch((error) => lost(error, signal));
    if (response?.ok) return { content: await response.json(), ms: performance.now() - begun };
    const problem = await problemOf(response);
    signal?.throwIfAborted();
    if (![0, 429, 503].includes(problem.status)) throw problem;
    const seconds = Number(response?.headers.get("Retry-After")) || RETRY_S;
    onWait(problem.message, seconds);
    await pause(seconds, signal);
  }
}

function requestFor(body, signal) {
  const headers = readKey() ? { Authorization: `Bearer ${readKey()}` } : {};
  if (!body) return { headers, signal };
  headers["Content-Type"] = "application/json";
  return { method: "POST", headers, body: JSON.stringify(body), signal };
}

function lost(error, signal) {
  if (signal?.aborted) throw error;
  return null;
}

async function problemOf(response) {
  if (!response) return new Problem(0, "The service cannot be reached.");
  const { detail = `${response.status} ${response.statusText}` } = await response.json().catch(() => ({}));
  const isReady = response.status !== 503 || (await fetch(addressOf("health/ready")).catch(() => null))?.ok;
  return new Problem(response.status, isReady ? detail : `No model is served yet: ${detail}.`);
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** Return a line for a shell that sends *body*. The key is a variable, so that the line can be shown to others. */
export function curlOf(body) {
  const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const key = readKey() ? ' -H "Authorization: Bearer $SEGUE_KEY"' : "";
  const address = quote(addressOf("recommend"));
  return `curl -s ${address} -H 'Content-Type: application/json'${key} -d ${quote(JSON.stringify(body))}`;
}
