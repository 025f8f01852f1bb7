// Send uploads that fail early, by fetch and by node:http; print the size, the path, and the status or the error.
// usage: node node.mjs http://127.0.0.1:8080
import http from "node:http";

const base = process.argv[2];
const headers = { Authorization: "Bearer x" };

async function byFetch(url, size) {
  const body = new FormData();
  body.append("file", new File([Buffer.alloc(size)], "b"));
  const response = await fetch(url, { method: "POST", body, headers });
  await response.text();
  return response.status;
}

function byHttp(url, size) {
  return new Promise((resolve, reject) => {
    const type = { "Content-Type": "multipart/form-data; boundary=simple" };
    const request = http.request(url, { method: "POST", headers: { ...headers, ...type } }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
    });
    request.on("error", reject);
    request.end(Buffer.alloc(size));
  });
}

for (const size of [2e6, 20e6])
  for (const path of ["/v1/containers/cntr_none/files", "/v1/nothing"])
    for (let i = 0; i < 10; i++)
      for (const send of [byFetch, byHttp])
        console.log(size, path, await send(base + path, size).catch((error) => String(error.cause ?? error)));
