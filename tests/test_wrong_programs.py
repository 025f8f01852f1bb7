"""The programs of the table in docs/guides/conversation.md, run with the official client, and their verdicts."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import World, ok
from manual import DOCS, rows
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.responses import Response

from mockserver.cli import main

MANIFEST = b"---\nname: house-style\ndescription: How we write reports.\n---\n"
AUTO: Any = [{"type": "code_interpreter", "container": {"type": "auto"}}]
ANSWERS = [
    {"id": "fails", "when": "fail", "steps": [{"code": "1"}, {"fail": "server_error"}]},
    {"id": "breaks-off", "when": "long", "steps": [{"say": "So f"}, {"fail": {"incomplete": "max_output_tokens"}}]},
    {"id": "report", "when": "report", "files": [{"path": "report.csv", "content": "a,b\n"}], "say": "Done: {links}"},
]


class Program:
    """A client, and helpers to add answers, request responses and download cited files."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client: OpenAI = world.openai

    def add_answers(self, *names: str) -> None:
        url = f"{self.world.server.url}/_mock/worlds/{self.world.name}/answers"
        ok(self.world.http.post(url, json=[each for each in ANSWERS if each["id"] in names]))

    def create_response(self, input: Any, **more: Any) -> Response:
        return self.client.responses.create(model="gpt-5", input=input, **({"tools": AUTO} | more))

    def download_citations(self, response: Response) -> None:
        for cited in citations(response):
            self.client.containers.files.content.retrieve(cited.file_id, container_id=cited.container_id).read()


def citations(response: Response) -> list[Any]:
    messages = [item for item in response.output if item.type == "message"]
    return [cited for item in messages for part in item.content for cited in getattr(part, "annotations", [])]


def makes_no_mistake(program: Program) -> None:
    program.add_answers("report")
    skill = program.client.skills.create(files=[("house_style/SKILL.md", MANIFEST)])
    skills: Any = [{"type": "skill_reference", "skill_id": skill.id}]
    container = program.client.containers.create(name="box", skills=skills)
    tools = [{"type": "code_interpreter", "container": container.id}]
    first = program.create_response("Write a report.", tools=tools)
    program.download_citations(first)
    program.download_citations(program.create_response("Another report.", tools=tools, previous_response_id=first.id))
    program.client.containers.delete(container.id)
    program.client.skills.delete(skill.id)


def downloads_no_citations(program: Program) -> None:
    program.add_answers("report")
    assert citations(program.create_response("Write a report."))


def downloads_from_files(program: Program) -> None:
    program.add_answers("report")
    (cited,) = citations(program.create_response("Write a report."))
    with suppress(NotFoundError):
        program.client.files.content(cited.file_id)


def omits_the_call(program: Program) -> None:
    program.add_answers("report")
    messages: list[dict[str, str]] = []
    for _ in range(2):
        messages.append({"role": "user", "content": "Write a report."})
        response = program.create_response(messages)
        program.download_citations(response)
        messages.append({"role": "assistant", "content": response.output_text})


def repeats_a_request_after_expiry(program: Program) -> None:
    program.add_answers("report")
    first = program.create_response("Write a report.")
    program.download_citations(first)
    program.world.advance(20 * 60)
    for _ in range(2):
        with suppress(BadRequestError):
            program.create_response("Another report.", previous_response_id=first.id)


def lists_files_of_an_expired_container(program: Program) -> None:
    container = program.client.containers.create(name="box")
    program.world.advance(20 * 60)
    with suppress(BadRequestError, NotFoundError):
        program.client.containers.files.list(container.id)


def leaves_a_container_running(program: Program) -> None:
    program.client.containers.create(name="box")


def uses_a_deleted_skill(program: Program) -> None:
    skill = program.client.skills.create(files=[("house_style/SKILL.md", MANIFEST)])
    program.client.skills.delete(skill.id)
    with suppress(BadRequestError, NotFoundError):
        program.client.containers.create(name="box", skills=[{"type": "skill_reference", "skill_id": skill.id}])


def uploads_the_same_file_again(program: Program) -> None:
    program.add_answers("report")
    container = program.client.containers.create(name="box")
    for _ in range(3):
        program.client.containers.files.create(container.id, file=("sales.csv", b"month,revenue\n"))
        program.download_citations(
            program.create_response("Write a report.", tools=[{"type": "code_interpreter", "container": container.id}])
        )
    program.client.containers.delete(container.id)


def continues_a_failed_response(program: Program) -> None:
    program.add_answers("report", "fails")
    failed = program.create_response("This will fail.")
    assert failed.status == "failed"
    program.download_citations(program.create_response("Now the report.", previous_response_id=failed.id))


def ignores_the_status_incomplete(program: Program) -> None:
    program.add_answers("breaks-off")
    assert program.create_response("Write a long text.").output_text == "So f"


def does_not_use_an_answer(program: Program) -> None:
    program.add_answers("report", "fails")
    program.download_citations(program.create_response("Write a report."))


def sends_a_request_without_an_answer(program: Program) -> None:
    program.add_answers("report")
    program.download_citations(program.create_response("Write a report."))
    program.download_citations(program.create_response("Write a poem."))


PROGRAMS: dict[str, Callable[[Program], None]] = {
    "makes no mistake": makes_no_mistake,
    "never downloads what a response cites": downloads_no_citations,
    "downloads a cited file from `/files`": downloads_from_files,
    "sends each turn without the call and without `previous_response_id`": omits_the_call,
    "sends the same request again after `Container is expired.`": repeats_a_request_after_expiry,
    "lists the files of its expired container": lists_files_of_an_expired_container,
    "creates a container and leaves it running": leaves_a_container_running,
    "deletes a skill and creates a container with it": uses_a_deleted_skill,
    "uploads the same file to its container before each turn": uploads_the_same_file_again,
    "continues a failed response": continues_a_failed_response,
    "treats an incomplete response as complete": ignores_the_status_incomplete,
    "never sends the request that an answer matches": does_not_use_an_answer,
    "sends a request that no answer matches": sends_a_request_without_an_answer,
}
DOCUMENTED = dict(rows((DOCS / "guides" / "conversation.md").read_text(encoding="utf-8"), "a program that"))


def test_the_table_lists_all_programs() -> None:
    assert list(DOCUMENTED) == list(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_has_the_documented_findings(world: World, program: str) -> None:
    expected = set(re.findall(r"`([\w-]+)`", DOCUMENTED[program]))
    assert bool(expected) == (DOCUMENTED[program] != "nothing")
    world.freeze()
    PROGRAMS[program](Program(world))
    findings = ok(world.http.get(f"{world.server.url}/_mock/worlds/{world.name}/verdict"))["findings"]
    assert {finding["name"] for finding in findings} == expected
    command = ["verdict", "--url", world.server.url, "--world", world.name]
    result = CliRunner().invoke(main.main, command, env={"MOCKSERVER_WORLD": None})
    assert result.exit_code == bool(expected), result.output
    assert all(name in result.output for name in expected)
