// Two turns in one container with the official client: created, streamed, parsed.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI();
const request = {
  model: "gpt-5",
  input: "Write the totals to report.csv.",
  tools: [{ type: "code_interpreter", container: { type: "auto" } }],
};
const followUp = (previous) => ({ ...request, input: "Plot them as plot.png.", previous_response_id: previous.id });

async function show(label, ...turns) {
  const found = [];
  for (const turn of turns) {
    const cited = turn.output.at(-1).content[0].annotations[0];
    const content = await client.containers.files.content.retrieve(cited.file_id, { container_id: cited.container_id });
    found.push(`${cited.filename} ${(await content.arrayBuffer()).byteLength}`);
  }
  assert.equal(turns[0].output[0].container_id, turns[1].output[0].container_id);
  console.log(`${label}: ${found.join(", ")}`);
}

// JSON output has no citations, so find the files in the container.
async function showFiles(label, container_id) {
  const found = [];
  const { data } = await client.containers.files.list(container_id);
  for (const name of ["report.csv", "plot.png"]) {
    const { id } = data.find((file) => file.path === `/mnt/data/${name}`);
    const content = await client.containers.files.content.retrieve(id, { container_id });
    found.push(`${name} ${(await content.arrayBuffer()).byteLength}`);
  }
  console.log(`${label}: ${found.join(", ")}`);
}

let first = await client.responses.create(request);
await show("created", first, await client.responses.create(followUp(first)));

first = await client.responses.stream(request).finalResponse();
let last;
for await (const event of await client.responses.create({ ...followUp(first), stream: true })) last = event;
assert.equal(last.type, "response.completed");
await show("streamed", first, last.response);

const schema = { type: "object", properties: { title: { type: "string" } }, required: ["title"] };
const format = { type: "json_schema", name: "report", schema };
first = await client.responses.parse({ ...request, text: { format } });
const second = await client.responses.stream({ ...followUp(first), text: { format } }).finalResponse();
for (const turn of [first, second]) assert.deepEqual(turn.output_parsed, { title: "" });
await showFiles("parsed", first.output[0].container_id);
assert.equal(first.output[0].container_id, second.output[0].container_id);
