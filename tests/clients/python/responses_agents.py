"""Two turns in one container with the Agents SDK: with repeated items, with the previous response's id, streamed."""

import asyncio

from agents import Agent, CodeInterpreterTool, Runner, set_tracing_disabled
from agents.result import RunResultBase
from openai import AsyncOpenAI

FIRST, SECOND = "Write the totals to report.csv.", "Plot them as plot.png."
INTERPRETER = CodeInterpreterTool(tool_config={"type": "code_interpreter", "container": {"type": "auto"}})


async def show(label: str, *turns: RunResultBase) -> None:
    containers, found = set(), []
    async with AsyncOpenAI() as client:
        for turn in turns:
            call, message = turn.raw_responses[-1].output
            containers.add(call.container_id)
            cited = message.content[0].annotations[0]
            content = await client.containers.files.content.retrieve(cited.file_id, container_id=cited.container_id)
            found.append(f"{cited.filename} {len(content.content)}")
    assert len(containers) == 1
    print(f"{label}: {', '.join(found)}")


async def main() -> None:
    agent = Agent(name="Analyst", model="gpt-5", instructions="Use Python.", tools=[INTERPRETER])
    first = await Runner.run(agent, FIRST)
    await show(
        "repeated", first, await Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": SECOND}])
    )

    first = await Runner.run(agent, FIRST)
    await show("chained", first, await Runner.run(agent, SECOND, previous_response_id=first.last_response_id))

    first = Runner.run_streamed(agent, FIRST)
    kinds = {event.data.type async for event in first.stream_events() if event.type == "raw_response_event"}
    assert "response.output_text.delta" in kinds
    second = Runner.run_streamed(agent, [*first.to_input_list(), {"role": "user", "content": SECOND}])
    async for _ in second.stream_events():
        pass
    await show("streamed", first, second)


set_tracing_disabled(True)
asyncio.run(main())
