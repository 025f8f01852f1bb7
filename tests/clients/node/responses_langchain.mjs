// Two turns in one container with LangChain: with repeated messages, streamed.

import assert from "node:assert/strict";
import { HumanMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import OpenAI from "openai";

const FIRST = new HumanMessage("Write the totals to report.csv.");
const SECOND = new HumanMessage("Plot them as plot.png.");
const tools = [{ type: "code_interpreter", container: { type: "auto" } }];
const model = new ChatOpenAI({ model: "gpt-5", useResponsesApi: true }).bindTools(tools);
const client = new OpenAI();

async function show(label, ...turns) {
  const found = [];
  const containers = new Set();
  for (const turn of turns) {
    containers.add(turn.additional_kwargs.tool_outputs[0].container_id);
    const cited = turn.content.find((block) => block.type === "text").annotations[0];
    const content = await client.containers.files.content.retrieve(cited.file_id, { container_id: cited.container_id });
    found.push(`${cited.title} ${(await content.arrayBuffer()).byteLength}`);
  }
  assert.equal(containers.size, 1);
  console.log(`${label}: ${found.join(", ")}`);
}

async function streamed(messages) {
  let whole;
  for await (const chunk of await model.stream(messages)) whole = whole ? whole.concat(chunk) : chunk;
  return whole;
}

let first = await model.invoke([FIRST]);
await show("repeated", first, await model.invoke([FIRST, first, SECOND]));

first = await streamed([FIRST]);
await show("streamed", first, await streamed([FIRST, first, SECOND]));
