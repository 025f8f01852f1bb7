"""Two turns in one container with the official client: created, parsed, streamed, asynchronously."""

import asyncio
from typing import Any

from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

FIRST: Any = {
    "model": "gpt-5",
    "input": "Write the totals to report.csv.",
    "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
}
SECOND = FIRST | {"input": "Plot them as plot.png."}


class Report(BaseModel):
    title: str


def show(label: str, *turns: Response) -> None:
    found = []
    for turn in turns:
        cited = turn.output[-1].content[0].annotations[0]
        content = client.containers.files.content.retrieve(cited.file_id, container_id=cited.container_id)
        found.append(f"{cited.filename} {len(content.read())}")
    assert container(turns[0]) == container(turns[1])
    print(f"{label}: {', '.join(found)}")


def show_files(label: str, box: str) -> None:
    """Find the files in the container, because JSON output has no citations."""
    ids = {file.path: file.id for file in client.containers.files.list(box)}
    found = []
    for name in ("report.csv", "plot.png"):
        content = client.containers.files.content.retrieve(ids[f"/mnt/data/{name}"], container_id=box)
        found.append(f"{name} {len(content.read())}")
    print(f"{label}: {', '.join(found)}")


def container(turn: Response) -> str:
    return next(item.container_id for item in turn.output if item.type == "code_interpreter_call")


async def asynchronous() -> None:
    async with AsyncOpenAI() as client:
        first = await client.responses.create(**FIRST)
        async with client.responses.stream(**SECOND, previous_response_id=first.id) as stream:
            await asyncio.to_thread(show, "asynchronous", first, await stream.get_final_response())


with OpenAI() as client:
    first = client.responses.create(**FIRST)
    show("created", first, client.responses.create(**SECOND, previous_response_id=first.id))

    with client.responses.stream(**FIRST) as stream:
        first = stream.get_final_response()
    *_, last = client.responses.create(**SECOND, previous_response_id=first.id, stream=True)
    show("streamed", first, last.response)

    first = client.responses.parse(**FIRST, text_format=Report)
    with client.responses.stream(**SECOND, text_format=Report, previous_response_id=first.id) as stream:
        second = stream.get_final_response()
    assert isinstance(first.output_parsed, Report)
    assert isinstance(second.output_parsed, Report)
    assert container(first) == container(second)
    show_files("parsed", container(first))

    asyncio.run(asynchronous())
