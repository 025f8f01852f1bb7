// Two turns in one container with the Agents SDK: with repeated items, with the previous response's id, streamed.

import assert from "node:assert/strict";
import { Agent, codeInterpreterTool, run, setTracingDisabled } from "@openai/agents";
import OpenAI from "openai";

const FIRST = "Write the totals to report.csv.";
const SECOND = "Plot them as plot.png.";
const client = new OpenAI();

async function show(label, ...turns) {
  const found = [];
  const containers = new Set();
  for (const turn of turns) {
    const [call, message] = turn.rawResponses.at(-1).output;
    containers.add(call.providerData.container_id);
    const cited = message.content[0].providerData.annotations[0];
    const content = await client.containers.files.content.retrieve(cited.file_id, { container_id: cited.container_id });
    found.push(`${cited.filename} ${(await content.arrayBuffer()).byteLength}`);
  }
  assert.equal(containers.size, 1);
  assert(!containers.has(undefined));
  console.log(`${label}: ${found.join(", ")}`);
}

async function streamed(agent, input) {
  const result = await run(agent, input, { stream: true });
  const kinds = new Set();
  for await (const event of result) kinds.add(event.data?.type);
  assert(kinds.has("output_text_delta"));
  return result;
}

setTracingDisabled(true);
const tools = [codeInterpreterTool({ container: { type: "auto" } })];
const agent = new Agent({ name: "Analyst", model: "gpt-5", instructions: "Use Python.", tools });
const next = (result) => [...result.history, { role: "user", content: SECOND }];

let first = await run(agent, FIRST);
await show("repeated", first, await run(agent, next(first)));

first = await run(agent, FIRST);
await show("chained", first, await run(agent, SECOND, { previousResponseId: first.lastResponseId }));

first = await streamed(agent, FIRST);
await show("streamed", first, await streamed(agent, next(first)));
