"""The programs of the table in docs/guides/conversation.md, with the official client, and what the verdict says."""

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
    """What programs have in common: a client, and a test that adds the answers that they need."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client: OpenAI = world.openai

    def scripted(self, *names: str) -> None:
        url = f"{self.world.server.url}/_mock/worlds/{self.world.name}/answers"
        ok(self.world.http.post(url, json=[each for each in ANSWERS if each["id"] in names]))

    def ask(self, given: Any, **more: Any) -> Response:
        return self.client.responses.create(model="gpt-5", input=given, **({"tools": AUTO} | more))

    def download(self, response: Response) -> None:
        for cited in citations(response):
            self.client.containers.files.content.retrieve(cited.file_id, container_id=cited.container_id).read()


def citations(response: Response) -> list[Any]:
    messages = [item for item in response.output if item.type == "message"]
    return [cited for item in messages for part in item.content for cited in getattr(part, "annotations", [])]


def is_right(program: Program) -> None:
    program.scripted("report")
    skill = program.client.skills.create(files=[("house_style/SKILL.md", MANIFEST)])
    skills: Any = [{"type": "skill_reference", "skill_id": skill.id}]
    container = program.client.containers.create(name="box", skills=skills)
    tools = [{"type": "code_interpreter", "container": container.id}]
    first = program.ask("Write a report.", tools=tools)
    program.download(first)
    program.download(program.ask("Another report.", tools=tools, previous_response_id=first.id))
    program.client.containers.delete(container.id)
    program.client.skills.delete(skill.id)


def downloads_nothing(program: Program) -> None:
    program.scripted("report")
    assert citations(program.ask("Write a report."))


def downloads_from_files(program: Program) -> None:
    program.scripted("report")
    (cited,) = citations(program.ask("Write a report."))
    with suppress(NotFoundError):
        program.client.files.content(cited.file_id)


def begins_anew(program: Program) -> None:
    program.scripted("report")
    messages: list[dict[str, str]] = []
    for _ in range(2):
        messages.append({"role": "user", "content": "Write a report."})
        response = program.ask(messages)
        program.download(response)
        messages.append({"role": "assistant", "content": response.output_text})


def repeats_an_expired_request(program: Program) -> None:
    program.scripted("report")
    first = program.ask("Write a report.")
    program.download(first)
    program.world.advance(20 * 60)
    for _ in range(2):
        with suppress(BadRequestError):
            program.ask("Another report.", previous_response_id=first.id)


def uses_what_expired(program: Program) -> None:
    container = program.client.containers.create(name="box")
    program.world.advance(20 * 60)
    with suppress(BadRequestError, NotFoundError):
        program.client.containers.files.list(container.id)


def leaves_a_container(program: Program) -> None:
    program.client.containers.create(name="box")


def uses_a_deleted_skill(program: Program) -> None:
    skill = program.client.skills.create(files=[("house_style/SKILL.md", MANIFEST)])
    program.client.skills.delete(skill.id)
    with suppress(BadRequestError, NotFoundError):
        program.client.containers.create(name="box", skills=[{"type": "skill_reference", "skill_id": skill.id}])


def uploads_again(program: Program) -> None:
    program.scripted("report")
    container = program.client.containers.create(name="box")
    for _ in range(3):
        program.client.containers.files.create(container.id, file=("sales.csv", b"month,revenue\n"))
        program.download(
            program.ask("Write a report.", tools=[{"type": "code_interpreter", "container": container.id}])
        )
    program.client.containers.delete(container.id)


def continues_a_failed_response(program: Program) -> None:
    program.scripted("report", "fails")
    failed = program.ask("This will fail.")
    assert failed.status == "failed"
    program.download(program.ask("Now the report.", previous_response_id=failed.id))


def overlooks_that_it_is_incomplete(program: Program) -> None:
    program.scripted("breaks-off")
    assert program.ask("Write a long text.").output_text == "So f"


def never_asks(program: Program) -> None:
    program.scripted("report", "fails")
    program.download(program.ask("Write a report."))


def asks_something_else(program: Program) -> None:
    program.scripted("report")
    program.download(program.ask("Write a report."))
    program.download(program.ask("Write a poem."))


PROGRAMS: dict[str, Callable[[Program], None]] = {
    "does all of it right": is_right,
    "never downloads what a response cites": downloads_nothing,
    "downloads a cited file from `/files`": downloads_from_files,
    "sends each turn without the call and without `previous_response_id`": begins_anew,
    "sends the same request again after `Container is expired.`": repeats_an_expired_request,
    "lists the files of its expired container": uses_what_expired,
    "creates a container and leaves it running": leaves_a_container,
    "deletes a skill and creates a container with it": uses_a_deleted_skill,
    "uploads the same file to its container before each turn": uploads_again,
    "continues a failed response": continues_a_failed_response,
    "takes an incomplete response for a whole one": overlooks_that_it_is_incomplete,
    "never sends the request that an answer waits for": never_asks,
    "sends a request that no answer fits": asks_something_else,
}
SHOWN = dict(rows((DOCS / "guides" / "conversation.md").read_text(encoding="utf-8"), "a program that"))


def test_the_table_has_these_programs() -> None:
    assert list(SHOWN) == list(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_gets_what_the_manual_says(world: World, program: str) -> None:
    wanted = set(re.findall(r"`([\w-]+)`", SHOWN[program]))
    assert bool(wanted) == (SHOWN[program] != "nothing")
    world.freeze()
    PROGRAMS[program](Program(world))
    findings = ok(world.http.get(f"{world.server.url}/_mock/worlds/{world.name}/verdict"))["findings"]
    assert {finding["name"] for finding in findings} == wanted
    command = ["verdict", "--url", world.server.url, "--world", world.name]
    done = CliRunner().invoke(main.main, command, env={"MOCKSERVER_WORLD": None})
    assert done.exit_code == bool(wanted), done.output
    assert all(name in done.output for name in wanted)
