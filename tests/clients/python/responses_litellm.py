"""Two turns in one container with the LiteLLM library: with the previous response's id, streamed."""

import warnings
from typing import Any

from litellm import responses
from litellm.containers import retrieve_container_file_content

FIRST: Any = {
    "model": "openai/gpt-5",
    "input": "Write the totals to report.csv.",
    "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
}
SECOND = FIRST | {"input": "Plot them as plot.png."}

warnings.filterwarnings("ignore", "Pydantic serializer warnings")  # LiteLLM counts the usage of a stream itself


def show(label: str, *turns: Any) -> None:
    containers, found = set(), []
    for turn in turns:
        call, message = turn.output
        containers.add(call.container_id)
        cited = message.content[0].annotations[0]
        content = retrieve_container_file_content(container_id=cited.container_id, file_id=cited.file_id)
        found.append(f"{cited.filename} {len(content)}")
    assert len(containers) == 1
    print(f"{label}: {', '.join(found)}")


def streamed(**request: Any) -> Any:
    *_, last = responses(**request, stream=True)
    return last.response


first = responses(**FIRST)
show("chained", first, responses(**SECOND, previous_response_id=first.id))

first = streamed(**FIRST)
show("streamed", first, streamed(**SECOND, previous_response_id=first.id))
