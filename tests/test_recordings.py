"""Replay recorded runs of the live API with scripts, and compare the responses.

Each file in `fixtures/recordings/` has the recordings of one source, and the `differences` between them and the mock,
each with its reason. A recording has a `source`, `date` and `grade`; the `files`, `skills` and `container` that are
created first; and `turns`. A turn has the `request`, the `answer` (a script) and the `response`; a streamed one also has
the `events`, in which `response` is the status of the object. `file` and `content` are the resource and headers of the
cited file when it was downloaded.

Recordings keep keys and events in their order, types, values and spans of citations. Texts keep only their form: letters
are replaced by `x`, digits by `0`, long code by short code, and the text after the last link is cut. Ids are numbered by
kind: `<cntr 1>` is the first container. The deltas of a text are joined into one event.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from conftest import World, new_world, ok

from mockserver.errors import Grade
from mockserver.server.serving import MockServer

FIXTURES = Path(__file__).parents[1] / "fixtures" / "recordings"
SOURCES = sorted(FIXTURES.glob("*.yaml"))
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
UNFINISHED: dict[str, Any] = {
    "status": "in_progress",
    "completed_at": None,
    "output": [],
    "service_tier": "auto",
    "usage": None,
}
"""The values that these keys have in the first events of a stream."""

_ID = re.compile(r"\b(resp|msg|ci|sho|sh|rs|cntr|cfile|file|call|skill)[_-][0-9A-Za-z]{20,}")
_LABEL = re.compile(r"<(?:resp|msg|ci|sho|sh|rs|cntr|cfile|file|call|skill) \d+>")


@dataclass
class Session:
    """Replaces ids by labels and back, and drops what is not recorded."""

    labels: dict[str, str] = field(default_factory=dict)

    def reduce(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self.reduce(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self.reduce(each) for each in value]
        if value is not None and key in ("created_at", "completed_at"):
            assert isinstance(value, int)
            return "<time>"
        if key in ("obfuscation", "sequence_number", "encrypted_content"):
            return {"obfuscation": "<padding>", "sequence_number": "<n>"}.get(key, value and "<encrypted>")
        return _ID.sub(self._label, value) if isinstance(value, str) else value

    def _label(self, match: re.Match[str]) -> str:
        if match[0] not in self.labels:
            same = sum(label.startswith(f"<{match[1]} ") for label in self.labels.values())
            self.labels[match[0]] = f"<{match[1]} {same + 1}>"
        return self.labels[match[0]]

    def restore_ids(self, request: dict[str, Any]) -> dict[str, Any]:
        """Replace the labels in a recorded request by ids of this session."""
        ids = {label: id for id, label in self.labels.items()}
        body: dict[str, Any] = json.loads(_LABEL.sub(lambda match: ids[match[0]], json.dumps(request)))
        return body


def parse_stream(text: str) -> list[dict[str, Any]]:
    """Parse the events of a stream, and join the deltas of a text."""
    events: list[dict[str, Any]] = []
    for number, block in enumerate(text.removesuffix("\n\n").split("\n\n")):
        event = json.loads(block.partition("\ndata: ")[2])
        assert block.startswith(f"event: {event['type']}\n")
        assert event["sequence_number"] == number
        if events and events[-1]["type"] == event["type"] and isinstance(event.get("delta"), str):
            assert list(event) == list(events[-1])
            assert (len(event["delta"]) + len(event["obfuscation"])) % 16 == 0
            events[-1]["delta"] += event["delta"]
        else:
            events.append(event)
    return events


def differences(recorded: Any, mock: Any, path: str, ordered: bool) -> Iterator[str]:
    """Yield the path and kind of each difference. `*` stands for the elements of a list."""
    if isinstance(recorded, dict) and isinstance(mock, dict):
        for key in recorded.keys() - mock.keys():
            yield f"{path}.{key}: missing"
        for key in mock.keys() - recorded.keys():
            yield f"{path}.{key}: added"
        both = [key for key in recorded if key in mock]
        if ordered and both != [key for key in mock if key in recorded]:
            yield f"{path}: order"
        for key in both:
            yield from differences(recorded[key], mock[key], f"{path}.{key}", ordered)
    elif isinstance(recorded, list) and isinstance(mock, list) and len(recorded) == len(mock):
        for one, other in zip(recorded, mock, strict=True):
            yield from differences(one, other, f"{path}.*", ordered)
    elif recorded != mock or isinstance(recorded, bool) is not isinstance(mock, bool):
        yield f"{path}: value"


def replay(world: World, recording: dict[str, Any]) -> Iterator[str]:
    """Send the recorded requests, and yield the differences in the responses."""
    session = Session()
    for label, file in recording.get("files", {}).items():
        upload = (file["filename"], file["content"])
        created = ok(world.http.post("/files", files={"file": upload}, data={"purpose": "assistants"}))
        assert session.reduce(created["id"]) == label
    for label, files in recording.get("skills", {}).items():
        parts = [("files[]", (path, content)) for path, content in files.items()]
        assert session.reduce(ok(world.http.post("/skills", files=parts))["id"]) == label
    if "container" in recording:
        box = ok(world.http.post("/containers", json={"name": recording["container"]}))
        assert session.reduce(box["id"]) == "<cntr 1>"
    for turn in recording["turns"]:
        answers = f"{world.server.url}/_mock/worlds/{world.name}/answers"
        ok(world.http.post(answers, json={**turn["answer"], "times": 1}))
        request = session.restore_ids(turn["request"])
        response = world.http.post("/responses", json=request)
        assert response.status_code == 200, response.text
        recorded, ordered = turn["response"], not recording.get("unordered", False)
        if "events" in turn:
            events = parse_stream(response.text)
            final = events[-1]["response"]
            assert [event["type"] for event in events] == [event["type"] for event in turn["events"]]
            for expected, event in zip(turn["events"], session.reduce(events), strict=True):
                if "response" in expected:
                    unfinished = {key: value for key, value in UNFINISHED.items() if key in recorded}
                    recorded_object = recorded if expected["response"] == "completed" else recorded | unfinished
                    yield from differences(recorded_object, event["response"], "response", ordered)
                    event["response"] = expected["response"]
                yield from differences(expected, event, "event", ordered)
        else:
            final = response.json()
            yield from differences(recorded, session.reduce(final), "response", ordered)
        yield from download_differences(world, session, turn, final)


def download_differences(
    world: World, session: Session, turn: dict[str, Any], response: dict[str, Any]
) -> Iterator[str]:
    """Check that Files of the request are at their paths in the container and that cited files can be downloaded. Yield the
    differences from a recorded download."""
    environments = [item.get("environment") or item for item in response["output"] if item["type"].endswith("_call")]
    boxes = {each["container_id"] for each in environments if "container_id" in each}
    for tool in session.restore_ids(turn["request"])["tools"]:
        environment = tool["environment"] if tool["type"] == "shell" else tool["container"]
        for id in environment.get("file_ids", []) if isinstance(environment, dict) else []:
            (box,) = boxes
            name = ok(world.http.get(f"/files/{id}"))["filename"]
            listed = ok(world.http.get(f"/containers/{box}/files"))["data"]
            assert f"/mnt/data/{id}-{name}" in [file["path"] for file in listed]
    steps = turn["answer"].get("steps", [])
    contents = {file["path"]: file["content"] for step in steps for file in step.get("files", [])}
    messages = [item for item in response["output"] if item["type"] == "message"]
    for cited in (cited for item in messages for cited in item["content"][0]["annotations"]):
        path = f"/containers/{cited['container_id']}/files/{cited['file_id']}"
        content = world.http.get(f"{path}/content")
        assert content.status_code == 200
        assert content.text == contents[cited["filename"]] if cited["end_index"] else len(content.content) == 8
        if "file" in turn:
            yield from differences(turn["file"], session.reduce(ok(world.http.get(path))), "file", False)
        for name, value in turn.get("content", {}).items():
            if content.headers.get(name) != value:
                yield f"content, {name}: value"


def all_differences(server: MockServer, recording: dict[str, Any]) -> set[str]:
    with new_world(server) as world:
        return {
            each.replace("response.output.*", "item").replace("event.item", "item") for each in replay(world, recording)
        }


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_replayed_runs_differ_from_the_recordings_only_as_listed(server: MockServer, source: Path) -> None:
    file = yaml.load(source.read_text(encoding="utf-8"), LOADER)
    recordings, listed = file["recordings"], file["differences"].keys()
    assert all(recording["grade"] in get_args(Grade) for recording in recordings)
    actual = {recording["name"]: all_differences(server, recording) for recording in recordings}
    assert {name: each - listed for name, each in actual.items() if each - listed} == {}
    assert listed - set().union(*actual.values()) == set(), "these listed differences do not occur"


def test_all_sources_of_recordings_are_found() -> None:
    assert len(SOURCES) == 4
