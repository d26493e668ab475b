// Calls to the JSON API in the session's name, and its problem documents as errors.

const main = document.getElementById("main");

export const workspace = {
  id: main.dataset.workspace,
  path: `/api/workspace/${encodeURIComponent(main.dataset.slug)}`,
  maxBytes: Number(main.dataset.maxBytes),
};

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function unsafeHeaders() {
  return { "X-CSRF-Token": main.dataset.csrf, Accept: "application/json" };
}

export async function call(path, { method = "GET", signal } = {}) {
  const headers = method === "GET" ? { Accept: "application/json" } : unsafeHeaders();
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server can’t be reached. Check the connection and try again.");
  }
  if (answer.status === 204) return null;
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw refusal(answer.status, body);
  return body;
}

export function refusal(status, body) {
  if (status === 401) return new Refused(status, "You are signed out. Sign in again to go on.");
  return new Refused(status, body?.detail || `The server answered ${status}. Try again in a moment.`);
}
