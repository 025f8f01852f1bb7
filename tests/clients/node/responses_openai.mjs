// Two turns in one container with the official client: created, streamed, parsed.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI();
const ask = {
  model: "gpt-5",
  input: "Write the totals to report.csv.",
  tools: [{ type: "code_interpreter", container: { type: "auto" } }],
};
const then = (before) => ({ ...ask, input: "Plot them as plot.png.", previous_response_id: before.id });

async function show(how, ...turns) {
  const found = [];
  for (const turn of turns) {
    const cited = turn.output.at(-1).content[0].annotations[0];
    const content = await client.containers.files.content.retrieve(cited.file_id, { container_id: cited.container_id });
    found.push(`${cited.filename} ${(await content.arrayBuffer()).byteLength}`);
  }
  assert.equal(turns[0].output[0].container_id, turns[1].output[0].container_id);
  console.log(`${how}: ${found.join(", ")}`);
}

// For a text that is JSON, which cites nothing: finds the files in the container.
async function showFiles(how, container_id) {
  const found = [];
  const { data } = await client.containers.files.list(container_id);
  for (const name of ["report.csv", "plot.png"]) {
    const { id } = data.find((file) => file.path === `/mnt/data/${name}`);
    const content = await client.containers.files.content.retrieve(id, { container_id });
    found.push(`${name} ${(await content.arrayBuffer()).byteLength}`);
  }
  console.log(`${how}: ${found.join(", ")}`);
}

let first = await client.responses.create(ask);
await show("created", first, await client.responses.create(then(first)));

first = await client.responses.stream(ask).finalResponse();
let last;
for await (const event of await client.responses.create({ ...then(first), stream: true })) last = event;
assert.equal(last.type, "response.completed");
await show("streamed", first, last.response);

const schema = { type: "object", properties: { title: { type: "string" } }, required: ["title"] };
const format = { type: "json_schema", name: "report", schema };
first = await client.responses.parse({ ...ask, text: { format } });
const second = await client.responses.stream({ ...then(first), text: { format } }).finalResponse();
for (const turn of [first, second]) assert.deepEqual(turn.output_parsed, { title: "" });
await showFiles("parsed", first.output[0].container_id);
assert.equal(first.output[0].container_id, second.output[0].container_id);
