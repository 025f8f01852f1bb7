// Requests to the control plane. URLs are relative to the page, so that a proxy can serve it under any path.

const HEADERS = { "x-mock-dashboard": "1" };

// The server's URL, including a proxy's path prefix.
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
  const present = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false);
  return present.length ? `?${new URLSearchParams(present)}` : "";
}

// A string body is JSON that the user wrote. It is sent unchanged, so that the server reports errors in it.
export async function send(method, url, body) {
  const headers = method === "GET" ? {} : { ...HEADERS };
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

// Return the first bytes of content as text, or as bytes if it is not text.
export async function preview(url, bytes) {
  const response = await send("GET", url + query({ bytes }));
  const text = response.headers.get("content-type").startsWith("text/");
  return {
    text: text ? await response.text() : null,
    bytes: text ? null : new Uint8Array(await response.arrayBuffer()),
    size: Number(response.headers.get("x-content-size")),
  };
}
