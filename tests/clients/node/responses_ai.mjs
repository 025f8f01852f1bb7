// Two turns in one container with the AI SDK: generated, streamed.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";

const { OPENAI_API_KEY, OPENAI_BASE_URL } = process.env;
const FIRST = { role: "user", content: "Write the totals to report.csv." };
const SECOND = { role: "user", content: "Plot them as plot.png." };
const openai = createOpenAI({ baseURL: OPENAI_BASE_URL });
const model = openai.responses("gpt-5");
const tools = { code_interpreter: openai.tools.codeInterpreter({}) };

async function show(label, ...turns) {
  const found = [];
  const containers = new Set();
  for (const turn of turns) {
    containers.add((await turn.toolCalls)[0].input.containerId);
    const [{ filename, providerMetadata }] = await turn.sources;
    const { containerId, fileId } = providerMetadata.openai;
    const url = `${OPENAI_BASE_URL}/containers/${containerId}/files/${fileId}/content`;
    const content = await fetch(url, { headers: { authorization: `Bearer ${OPENAI_API_KEY}` } });
    assert(content.ok);
    found.push(`${filename} ${(await content.arrayBuffer()).byteLength}`);
  }
  assert.equal(containers.size, 1);
  console.log(`${label}: ${found.join(", ")}`);
}

async function streamed(messages) {
  const onError = ({ error }) => assert.fail(error);
  const result = streamText({ model, tools, messages, onError });
  await result.consumeStream();
  return result;
}

let first = await generateText({ model, tools, messages: [FIRST] });
const second = await generateText({ model, tools, messages: [FIRST, ...first.response.messages, SECOND] });
await show("generated", first, second);

first = await streamed([FIRST]);
const { messages } = await first.response;
await show("streamed", first, await streamed([FIRST, ...messages, SECOND]));
