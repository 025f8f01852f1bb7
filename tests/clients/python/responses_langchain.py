"""Two turns in one container with LangChain: with repeated messages, with the previous response's id, streamed."""

from functools import reduce
from operator import add
from typing import Any

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from openai import OpenAI

FIRST, SECOND = "Write the totals to report.csv.", "Plot them as plot.png."
INTERPRETER = {"type": "code_interpreter", "container": {"type": "auto"}}


def show(label: str, *turns: AIMessage) -> None:
    containers, found = set(), []
    with OpenAI() as client:
        for turn in turns:
            blocks: dict[str, Any] = {block["type"]: block for block in turn.content}
            containers.add(blocks["code_interpreter_call"]["container_id"])
            cited = blocks["text"]["annotations"][0]
            content = client.containers.files.content.retrieve(cited["file_id"], container_id=cited["container_id"])
            found.append(f"{cited['filename']} {len(content.read())}")
    assert len(containers) == 1
    print(f"{label}: {', '.join(found)}")


include = ["code_interpreter_call.outputs"]
model = ChatOpenAI(model="gpt-5", output_version="responses/v1", include=include).bind_tools([INTERPRETER])
first = model.invoke(FIRST)
show("repeated", first, model.invoke([("user", FIRST), first, ("user", SECOND)]))

first = model.invoke(FIRST)
show("chained", first, model.invoke(SECOND, previous_response_id=first.response_metadata["id"]))

first = reduce(add, model.stream(FIRST))
show("streamed", first, reduce(add, model.stream([("user", FIRST), first, ("user", SECOND)])))
