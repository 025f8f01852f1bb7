"""Runs that the live API was recorded in, rebuilt as scripts and compared.

`fixtures/recordings/*.yaml` has the recordings of one source each, and the `differences` of the mock, each with its
reason. A recording has its `source`, `date` and `grade`, the `files`, `skills` and `container` that were created first,
and `turns`: the `request`, the `answer` (a script), and the `response`; of a stream also its `events`, in which
`response` is the status of the object. `file` and headers of its `content` are what was downloaded then.

What a recording is about is kept: keys and their order, events and their order, types, values, spans of citations.
Of texts only the form is kept: letters are `x`, digits `0`, and what follows the last link is left out; long code is
replaced. An id is `<cntr 1>` for the first container, and so on. The deltas of a text are one event.
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
"""What the object of a first event has instead, in all recordings, of keys that there were."""

_ID = re.compile(r"\b(resp|msg|ci|sho|sh|rs|cntr|cfile|file|call|skill)[_-][0-9A-Za-z]{20,}")
_LABEL = re.compile(r"<(?:resp|msg|ci|sho|sh|rs|cntr|cfile|file|call|skill) \d+>")


@dataclass
class Session:
    """What is kept of responses, and the ids behind the labels."""

    labels: dict[str, str] = field(default_factory=dict)

    def reduced(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self.reduced(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self.reduced(each) for each in value]
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

    def sent(self, request: dict[str, Any]) -> dict[str, Any]:
        """A recorded request with the ids of this session."""
        ids = {label: id for id, label in self.labels.items()}
        body: dict[str, Any] = json.loads(_LABEL.sub(lambda match: ids[match[0]], json.dumps(request)))
        return body


def stream(text: str) -> list[dict[str, Any]]:
    """The events, those of one text's deltas joined."""
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


def differences(recorded: Any, mock: Any, where: str, ordered: bool) -> Iterator[str]:
    """What differs. An element of a list is called `*`."""
    if isinstance(recorded, dict) and isinstance(mock, dict):
        for key in recorded.keys() - mock.keys():
            yield f"{where}.{key}: missing"
        for key in mock.keys() - recorded.keys():
            yield f"{where}.{key}: added"
        both = [key for key in recorded if key in mock]
        if ordered and both != [key for key in mock if key in recorded]:
            yield f"{where}: order"
        for key in both:
            yield from differences(recorded[key], mock[key], f"{where}.{key}", ordered)
    elif isinstance(recorded, list) and isinstance(mock, list) and len(recorded) == len(mock):
        for one, other in zip(recorded, mock, strict=True):
            yield from differences(one, other, f"{where}.*", ordered)
    elif recorded != mock or isinstance(recorded, bool) is not isinstance(mock, bool):
        yield f"{where}: value"


def play(world: World, recording: dict[str, Any]) -> Iterator[str]:
    """Send the recorded requests, and yield what differs in the responses."""
    session = Session()
    for label, file in recording.get("files", {}).items():
        given = (file["filename"], file["content"])
        created = ok(world.http.post("/files", files={"file": given}, data={"purpose": "assistants"}))
        assert session.reduced(created["id"]) == label
    for label, files in recording.get("skills", {}).items():
        parts = [("files[]", (path, content)) for path, content in files.items()]
        assert session.reduced(ok(world.http.post("/skills", files=parts))["id"]) == label
    if "container" in recording:
        box = ok(world.http.post("/containers", json={"name": recording["container"]}))
        assert session.reduced(box["id"]) == "<cntr 1>"
    for turn in recording["turns"]:
        answers = f"{world.server.url}/_mock/worlds/{world.name}/answers"
        ok(world.http.post(answers, json={**turn["answer"], "times": 1}))
        request = session.sent(turn["request"])
        response = world.http.post("/responses", json=request)
        assert response.status_code == 200, response.text
        recorded, ordered = turn["response"], not recording.get("unordered", False)
        if "events" in turn:
            events = stream(response.text)
            final = events[-1]["response"]
            assert [event["type"] for event in events] == [event["type"] for event in turn["events"]]
            for expected, event in zip(turn["events"], session.reduced(events), strict=True):
                if "response" in expected:
                    begun = {key: value for key, value in UNFINISHED.items() if key in recorded}
                    shown = recorded if expected["response"] == "completed" else recorded | begun
                    yield from differences(shown, event["response"], "response", ordered)
                    event["response"] = expected["response"]
                yield from differences(expected, event, "event", ordered)
        else:
            final = response.json()
            yield from differences(recorded, session.reduced(final), "response", ordered)
        yield from downloads(world, session, turn, final)


def downloads(world: World, session: Session, turn: dict[str, Any], response: dict[str, Any]) -> Iterator[str]:
    """Check that Files of the request are where the recorded code looks for them, and that what is cited can be
    downloaded; yield what differs from a recorded download."""
    places = [item.get("environment") or item for item in response["output"] if item["type"].endswith("_call")]
    boxes = {place["container_id"] for place in places if "container_id" in place}
    for tool in session.sent(turn["request"])["tools"]:
        place = tool["environment"] if tool["type"] == "shell" else tool["container"]
        for id in place.get("file_ids", []) if isinstance(place, dict) else []:
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
            yield from differences(turn["file"], session.reduced(ok(world.http.get(path))), "file", False)
        for name, value in turn.get("content", {}).items():
            if content.headers.get(name) != value:
                yield f"content, {name}: value"


def found(server: MockServer, recording: dict[str, Any]) -> set[str]:
    with new_world(server) as world:
        return {
            each.replace("response.output.*", "item").replace("event.item", "item") for each in play(world, recording)
        }


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_recorded_runs_differ_by_what_is_listed(server: MockServer, source: Path) -> None:
    file = yaml.load(source.read_text(encoding="utf-8"), LOADER)
    recordings, listed = file["recordings"], file["differences"].keys()
    assert all(recording["grade"] in get_args(Grade) for recording in recordings)
    differing = {recording["name"]: found(server, recording) for recording in recordings}
    assert {name: each - listed for name, each in differing.items() if each - listed} == {}
    assert listed - set().union(*differing.values()) == set(), "listed, and found nowhere"


def test_there_are_recordings() -> None:
    assert len(SOURCES) == 4
