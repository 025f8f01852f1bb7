"""Two turns in one container with Pydantic AI: with repeated messages, with the previous response's id, streamed."""

import asyncio
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import Agent, CodeExecutionTool
from pydantic_ai.capabilities import NativeTool
from pydantic_ai.messages import ModelResponse, NativeToolCallPart, TextPart
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.providers.openai import OpenAIProvider

FIRST, SECOND = "Write the totals to report.csv.", "Plot them as plot.png."
SETTINGS = OpenAIResponsesModelSettings(openai_include_raw_annotations=True)


async def show(client: AsyncOpenAI, label: str, *turns: ModelResponse) -> None:
    containers, found = set(), []
    for turn in turns:
        call: Any = next(part for part in turn.parts if isinstance(part, NativeToolCallPart))
        containers.add(call.args_as_dict()["container_id"])
        text: Any = next(part for part in turn.parts if isinstance(part, TextPart))
        cited = text.provider_details["annotations"][0]
        content = await client.containers.files.content.retrieve(cited["file_id"], container_id=cited["container_id"])
        found.append(f"{cited['filename']} {len(content.content)}")
    assert len(containers) == 1
    print(f"{label}: {', '.join(found)}")


async def main() -> None:
    async with AsyncOpenAI() as client:
        model = OpenAIResponsesModel("gpt-5", provider=OpenAIProvider(openai_client=client))
        agent = Agent(model, capabilities=[NativeTool(CodeExecutionTool())], model_settings=SETTINGS)
        first = await agent.run(FIRST)
        second = await agent.run(SECOND, message_history=first.all_messages())
        await show(client, "repeated", first.response, second.response)

        first = await agent.run(FIRST)
        chained = OpenAIResponsesModelSettings(openai_previous_response_id=first.response.provider_response_id)
        second = await agent.run(SECOND, model_settings=chained)
        await show(client, "chained", first.response, second.response)

        async with agent.run_stream(FIRST) as stream:
            assert "".join([text async for text in stream.stream_text(delta=True)]) == await stream.get_output()
        history = stream.all_messages()
        async with agent.run_stream(SECOND, message_history=history) as second_stream:
            await second_stream.get_output()
        await show(client, "streamed", stream.response, second_stream.response)


asyncio.run(main())
