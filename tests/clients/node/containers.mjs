// Upload a table and a script to a container, list and download them, and clean up.

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const client = new OpenAI();

const container = await client.containers.create({
  name: "Population",
  expires_after: { anchor: "last_active_at", minutes: 120 },
});
console.log(`Created container ${container.id}`);

const sources = {
  "cities.csv": Buffer.from("city,people\nOslo,717710\nTromsø,78745\n"),
  "sum.py": Buffer.from("import csv\nprint(sum(int(row['people']) for row in csv.DictReader(open('cities.csv'))))\n"),
};
for (const [name, bytes] of Object.entries(sources)) {
  const file = await client.containers.files.create(container.id, { file: await toFile(bytes, name) });
  assert.equal(file.bytes, bytes.length);
  console.log(`Uploaded ${file.path}`);
}

// One file a page: the loop fetches the next page by itself.
const files = [];
for await (const file of client.containers.files.list(container.id, { limit: 1, order: "asc" })) {
  files.push(file);
}
assert.equal(files.length, 2);

for (const file of files) {
  const response = await client.containers.files.content.retrieve(file.id, { container_id: container.id });
  const bytes = Buffer.from(await response.arrayBuffer());
  const name = Object.keys(sources).find((name) => file.path.endsWith(name));
  assert.deepEqual(bytes, sources[name]);
  console.log(`Downloaded ${name}, ${bytes.length} bytes as they were sent`);
}

for (const file of files) {
  await client.containers.files.delete(file.id, { container_id: container.id });
}
assert.deepEqual((await client.containers.files.list(container.id)).data, []);

await client.containers.delete(container.id);
await assert.rejects(client.containers.retrieve(container.id), OpenAI.NotFoundError);
console.log("Deleted the files and the container");
