// The control plane. Errors are its own words.

const MARK = { "x-mock-dashboard": "1" };

export class ServerError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// Relative to the page: a proxy may serve it below a path of its own.
export const path = (...parts) => parts.map(encodeURIComponent).join("/");

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

export async function send(method, url, body) {
  const headers = method === "GET" ? {} : { ...MARK };
  const raw = body instanceof FormData || body instanceof Blob;
  if (body !== undefined && !raw) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: raw || body === undefined ? body : JSON.stringify(body) });
  } catch {
    throw new ServerError(0, "unreachable", "The server doesn't answer. Is it still running?");
  }
  if (answer.ok) return answer;
  const data = await answer.json().catch(() => ({}));
  const error = new ServerError(answer.status, data.error?.code, data.error?.message ?? `The server answered ${answer.status}.`);
  if (error.code === "wrong_token") document.dispatchEvent(new Event("locked"));
  throw error;
}

export const get = async (url) => (await send("GET", url)).json();
export const post = async (url, body) => (await send("POST", url, body)).json();
export const put = async (url, body) => (await send("PUT", url, body)).json();
export const patch = async (url, body) => (await send("PATCH", url, body)).json();
export const remove = async (url) => (await send("DELETE", url)).json();

// The start of a content: as text, or as bytes where it isn't any.
export async function preview(url, bytes) {
  const answer = await send("GET", `${url}/preview?bytes=${bytes}`);
  const text = answer.headers.get("content-type").startsWith("text/");
  return {
    text: text ? await answer.text() : null,
    bytes: text ? null : new Uint8Array(await answer.arrayBuffer()),
    size: Number(answer.headers.get("x-content-size")),
  };
}
