// Call every operation on containers and their files, Files and uploads, one after another.

import assert from "node:assert/strict";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import OpenAI, { toFile } from "openai";

const client = new OpenAI();
const line = '{"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {"input": "Hello"}}\n';
const folder = await mkdtemp(join(tmpdir(), "workflow-"));

// Upload a File, streamed from the disk.
await writeFile(join(folder, "cities.csv"), "city,people\nOslo,717710\n");
const cities = await client.files.create({ file: createReadStream(join(folder, "cities.csv")), purpose: "user_data" });
assert.equal(cities.filename, "cities.csv");

// Create a container with a copy of it.
const container = await client.containers.create({
  name: "Population",
  file_ids: [cities.id],
  expires_after: { anchor: "last_active_at", minutes: 20 },
});
console.log(`Created ${container.name}, ${container.status}`);

// Add two more files: an upload, and a copy of another File.
const upload = await client.containers.files.create(container.id, {
  file: await toFile(Buffer.from("Tromsø is missing.\n"), "notes.txt"),
});
const requests = await client.files.create({ file: new File([line], "requests.jsonl"), purpose: "batch" });
const copied = await client.containers.files.create(container.id, { file_id: requests.id });
console.log(`Uploaded ${upload.bytes} bytes, and copied ${copied.bytes}`);

// The loop fetches pages as it needs them; `data` is the items of one page.
const files = [];
for await (const file of client.containers.files.list(container.id, { order: "asc", limit: 1 })) {
  files.push(file.path);
}
assert.equal(files.length, 3);
const page = await client.containers.files.list(container.id, { limit: 1 });
assert.equal(page.data.length, 1);
assert(page.hasNextPage());
assert.deepEqual((await client.containers.list()).data.map((each) => each.id), [container.id]);
assert.deepEqual((await client.files.list({ purpose: "batch" })).data.map((each) => each.id), [requests.id]);
console.log(`Listed ${files.length} files`);

// Download content as text, or stream it to the disk.
const text = await client.containers.files.content.retrieve(upload.id, { container_id: container.id });
assert.equal(await text.text(), "Tromsø is missing.\n");
const content = await client.containers.files.content.retrieve(upload.id, { container_id: container.id });
await pipeline(content.body, createWriteStream(join(folder, "notes.txt")));
const notes = await readFile(join(folder, "notes.txt"));
assert.equal(await (await client.files.content(requests.id)).text(), line);
console.log(`Downloaded ${notes.length} bytes`);

// Upload a large File in parts of up to 64 MiB: buffers, or streams from the disk, in any order.
const own = { filename: "large.jsonl", bytes: line.length, mime_type: "application/jsonl", purpose: "batch" };
const sending = await client.uploads.create(own);
await writeFile(join(folder, "end"), line.slice(50));
const end = await client.uploads.parts.create(sending.id, { data: createReadStream(join(folder, "end")) });
const start = await client.uploads.parts.create(sending.id, { data: await toFile(Buffer.from(line.slice(0, 50))) });
const large = (await client.uploads.complete(sending.id, { part_ids: [start.id, end.id] })).file;
assert.equal(await (await client.files.content(large.id)).text(), line);
assert.equal((await client.uploads.cancel((await client.uploads.create(own)).id)).status, "cancelled");
console.log(`Sent ${large.bytes} bytes in parts`);

// Retrieve objects by their ids.
assert.equal((await client.containers.retrieve(container.id)).created_at, container.created_at);
const again = await client.containers.files.retrieve(copied.id, { container_id: container.id });
assert.equal(again.path, copied.path);
assert.equal((await client.files.retrieve(cities.id)).filename, "cities.csv");

await client.containers.files.delete(upload.id, { container_id: container.id });
await client.containers.delete(container.id);
for (const file of [cities, requests, large]) {
  assert((await client.files.delete(file.id)).deleted); // deleting a container does not delete its Files
}
await rm(folder, { recursive: true });
console.log("Deleted everything");

// Each kind of error has its class, with the API's message.
try {
  await client.containers.retrieve(container.id);
} catch (error) {
  if (!(error instanceof OpenAI.NotFoundError)) throw error;
  console.log(error.status, error.error.message);
}
try {
  await client.containers.list({ limit: 1000 });
} catch (error) {
  if (!(error instanceof OpenAI.BadRequestError)) throw error;
  console.log(error.status, error.param, error.code);
}
