// Requests to the control plane. URLs are relative to the page, so that a proxy can serve it below any path.

const MARK = { "x-mock-dashboard": "1" };

// The server's address, with the path that a proxy puts before it.
export const SERVER = new URL("..", document.baseURI).href.replace(/\/$/, "");

export class ServerError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const path = (...parts) => parts.map(encodeURIComponent).join("/");

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

// A string is sent as JSON that the user wrote, so that the server reports what is wrong with it.
export async function send(method, url, body) {
  const headers = method === "GET" ? {} : { ...MARK };
  const raw = body instanceof FormData || body instanceof Blob;
  if (body !== undefined && !raw) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(url, { method, headers, body: raw || body === undefined || typeof body === "string" ? body : JSON.stringify(body) });
  } catch {
    throw new ServerError(0, "unreachable", "The server does not respond. Check that it is running.");
  }
  if (response.ok) return response;
  const data = await response.json().catch(() => ({}));
  const error = new ServerError(response.status, data.error?.code, data.error?.message ?? `The server returned status ${response.status}.`);
  if (error.code === "wrong_token") document.dispatchEvent(new Event("locked"));
  throw error;
}

export const get = async (url) => (await send("GET", url)).json();
export const post = async (url, body) => (await send("POST", url, body)).json();
export const put = async (url, body) => (await send("PUT", url, body)).json();
export const patch = async (url, body) => (await send("PATCH", url, body)).json();
export const remove = async (url) => (await send("DELETE", url)).json();

// The start of a content: text, or bytes if it is not text.
export async function preview(url, bytes) {
  const response = await send("GET", url + query({ bytes }));
  const text = response.headers.get("content-type").startsWith("text/");
  return {
    text: text ? await response.text() : null,
    bytes: text ? null : new Uint8Array(await response.arrayBuffer()),
    size: Number(response.headers.get("x-content-size")),
  };
}
