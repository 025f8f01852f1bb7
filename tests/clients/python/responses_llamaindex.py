"""Two turns in one container with LlamaIndex: with the previous response's id, streamed."""

import os

from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.llms.openai import OpenAIResponses
from openai import OpenAI

FIRST, SECOND = "Write the totals to report.csv.", "Plot them as plot.png."
INTERPRETER = {"type": "code_interpreter", "container": {"type": "auto"}}


def show(label: str, *turns: ChatResponse) -> None:
    containers, found = set(), []
    with OpenAI() as client:
        for turn in turns:
            cited = turn.additional_kwargs["annotations"][0]
            cited = cited if isinstance(cited, dict) else cited.model_dump()
            containers.add(cited["container_id"])
            content = client.containers.files.content.retrieve(cited["file_id"], container_id=cited["container_id"])
            found.append(f"{cited['filename']} {len(content.read())}")
    assert len(containers) == 1
    print(f"{label}: {', '.join(found)}")


def messages(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


def model() -> OpenAIResponses:
    url = os.environ["OPENAI_BASE_URL"]  # LlamaIndex reads only OPENAI_API_BASE
    return OpenAIResponses(model="gpt-5", api_base=url, built_in_tools=[INTERPRETER], track_previous_responses=True)


llm = model()
show("chained", llm.chat(messages(FIRST)), llm.chat(messages(SECOND)))

llm = model()
*_, first = llm.stream_chat(messages(FIRST))
*_, second = llm.stream_chat(messages(SECOND))
show("streamed", first, second)
