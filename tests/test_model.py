"""Random use of everything by several clients in several worlds, beside a model in memory: no answer may differ.

Answers of the API are compared byte for byte, those of the control plane by what they say. The machine's clock
is the test's, so that real and scaled clocks can be foretold as well as frozen ones.
"""

import http.client
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import pytest
from conftest import stored
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from manual import tried
from model import (
    NEITHER,
    PURPOSES,
    Fault,
    Json,
    Model,
    ModelError,
    conditional,
    disposition,
    etag,
    missing,
    out_of_range,
    unknown,
    wrong_type,
    wrong_value,
)
from rawhttp import TIMEOUT, form
from skill_bundles import manifest, zipped

from mockserver.clock import Wall
from mockserver.server.serving import MockServer

NOON = 1_782_324_240.0
CLIENTS = 3
OPERATIONS = [
    "ListContainers",
    "CreateContainer",
    "RetrieveContainer",
    "DeleteContainer",
    "CreateContainerFile",
    "ListContainerFiles",
    "RetrieveContainerFile",
    "RetrieveContainerFileContent",
    "DeleteContainerFile",
    "ListFiles",
    "CreateFile",
    "DeleteFile",
    "RetrieveFile",
    "DownloadFile",
    "CreateUpload",
    "AddUploadPart",
    "CompleteUpload",
    "CancelUpload",
    "CreateSkill",
    "ListSkills",
    "RetrieveSkill",
    "UpdateSkill",
    "DeleteSkill",
    "RetrieveSkillContent",
    "CreateSkillVersion",
    "ListSkillVersions",
    "RetrieveSkillVersion",
    "DeleteSkillVersion",
    "RetrieveSkillVersionContent",
]


class Hands(Wall):
    """A clock on the wall that moves when it is told to."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> float:
        return self.time


class Client:
    """A connection, and one of the ways to say which world is meant."""

    def __init__(self, port: int, style: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._style = style

    def ask(
        self, world: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        prefix, key = (
            (f"/w/{world}/v1", "Bearer sk-test"),
            ("/v1", f"Bearer sk-world-{world}"),
            ("", f"bearer  sk-world-{world}"),
        )[self._style]
        prefix = "" if path.startswith("/_mock") else prefix
        self._connection.request(method, prefix + path, body, {"Authorization": key, **(headers or {})})
        answer = self._connection.getresponse()
        return answer, answer.read()

    def close(self) -> None:
        self._connection.close()


class Subject:
    """The server under test, on a directory that outlives it, with its clients."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.wall = Hands()
        self.counted: Counter[str] = Counter()
        """How often each operation was compared, by its name and the status of its answer."""
        self.examples = itertools.count()
        self._start()

    def _start(self) -> None:
        self.server = MockServer(wall=self.wall, data=self.data).__enter__()
        self.clients = [Client(self.server.port, style) for style in range(CLIENTS)]

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.server.__exit__(None, None, None)

    def restart(self) -> None:
        self.stop()
        self._start()


NOT_JSON = (
    "Invalid body: failed to parse JSON value. Please check the value to ensure it is valid JSON. (Common errors "
    "include trailing commas, missing closing brackets, missing quotation marks, etc.)"
)
BAD_CONTAINERS: list[tuple[Any, ModelError]] = [
    ({}, missing("name")),
    ({"name": 7}, wrong_type("name", "a string", "an integer")),
    ({"name": None}, wrong_type("name", "a string", "null")),
    ({"name": "x", "foo": 1}, unknown("foo")),
    ({"name": "x", "memory_limit": "2g"}, wrong_value("memory_limit", "2g", "'1g', '4g', '16g', and '64g'")),
    ({"name": "x", "file_ids": "file-1"}, wrong_type("file_ids", "an array", "a string")),
    ({"name": "x", "file_ids": [None]}, wrong_type("file_ids[0]", "a string", "null")),
    ({"name": "x", "expires_after": {"minutes": 5}}, missing("expires_after.anchor")),
    (
        {"name": "x", "expires_after": {"anchor": "last_active_at", "minutes": 0}},
        out_of_range("expires_after.minutes", 0, 1, 20),
    ),
    (
        {"name": "x", "expires_after": {"anchor": "now", "minutes": 1}},
        wrong_value("expires_after.anchor", "now", "'last_active_at'"),
    ),
    ({"name": "x", "network_policy": {"type": "open"}}, wrong_value("network_policy.type", "open", "'disabled' and 'allowlist'")),
    ([], ModelError(400, "Invalid body: expected a JSON object, but got an array instead.")),
    (b"{", ModelError(400, NOT_JSON)),
    (b'{"name": NaN}', ModelError(400, NOT_JSON)),
]  # fmt: skip

worlds = st.integers(0, 2)
clients = st.integers(0, CLIENTS - 1)
picks = st.integers(0, 1_000)
names = st.sampled_from(
    ["a.txt", "b.csv", "no extension", "ünï.md", "x.tar.gz", "a.jsonl", "../a.txt", "C:\\x\\a.jsonl"]
)
skill_names = st.sampled_from(["one", "two", "three-4"])
contents = st.sampled_from(
    [b"", b"x", b"shared" * 50, b"large" * 5_000, b"month,revenue\r\nJanuary,1200\r\n", b"\x00--simple\r\n"]
)
contents = st.sampled_from(
    [b"", b"x", b"shared" * 50, b"large" * 5_000, b"month,revenue\r\nJanuary,1200\r\n", b"\x00--simple\r\n", b"\xff"]
)
methods = st.sampled_from(["GET", "GET", "HEAD"])
conditions = st.sampled_from([None, None, "if-none-match", "if-range"])
lifetimes = st.sampled_from(
    [
        None,
        None,
        {"anchor": "last_active_at", "minutes": 1},
        {"anchor": "last_active_at", "minutes": 20},
        {"anchor": "last_active_at", "minutes": 60},
        {"anchor": "last_active_at", "minutes": 100_000},
        {"anchor": "created_at", "minutes": 5},
        {"anchor": "created_at", "days": 1},
    ]
)
spans = st.sampled_from([0.25, 1.0, 1.0, 1.5, 3.0, 59.0, 60.0, 299.0, 300.0, 1_199.0, 1_200.0, 3_600.0, 2_592_000.0])


class Beside(RuleBasedStateMachine):
    """Every rule asks the server and the model the same thing."""

    subject: ClassVar[Subject]

    @initialize()
    def begin(self) -> None:
        number = next(self.subject.examples)
        self.names = [f"m{number}-{letter}" for letter in "abc"]
        self.model = Model(self.subject.wall.time)
        self.gone: list[str] = []
        self.agreed = True
        for world in (0, 1):  # else most of a run would find nothing there
            self.create_file(world, world, "a.txt", b"shared" * 50, "vision", None, True)
            self.create_file(world, world, "b.jsonl", b"x", "batch", 3_600, True)
            self.create_container(world, world, "a.txt", None, "4g", {"type": "disabled"}, [0, 1])
            self.create_container(world, world, "b.csv", {"anchor": "created_at", "minutes": 30}, None, None, [])
            self.upload(world, world, 1, "ünï.md", b"")
            self.create_upload(world, world, "a.txt", 20_000, "vision", None)
            self.add_part(world, world, 0, b"A" * 20_000)
            self.create_skill(world, world, "one")

    # Asking both

    def api(
        self,
        client: int,
        world: int,
        operation: str,
        method: str,
        path: str,
        foretell: Callable[[str, Json], Any],
        *,
        body: bytes | None = None,
        kind: str = "application/json",
        condition: str | None = None,
        tag: str = "",
    ) -> Any:
        """`condition` is a header of a download, with an entity tag. `foretell` gets the world's name and the server's answer, for the ids in it."""
        name = self.names[world]
        sent = {} if body is None else {"Content-Type": kind}
        sent |= {condition: tag} if condition else {}
        sent |= {"range": "bytes=1-"} if condition == "if-range" else {}
        answer, said = self.subject.clients[client].ask(name, method, path, body, sent)
        files_api = path.startswith(("/files", "/uploads"))
        parsed = json.loads(said) if answer.status == 200 and not path.endswith("/content") else {}
        try:
            self.model.strike(name, operation)
            status, expected = 200, foretell(name, parsed)
            if isinstance(expected, bytes):
                status, expected = conditional(expected, condition, tag)
        except ModelError as raised:
            digits = r"req_(.{8})(.{4})(.{4})(.{4})(.{12})"
            request_id = re.sub(digits, r"\1-\2-\3-\4-\5", str(answer.headers["x-request-id"]))
            error = raised.error | {"message": str(raised).replace("{request_id}", request_id)}
            status, expected = raised.status, {"error": error}
            if files_api:
                expected["detail"] = {key: error[key] for key in ("message", "code")}
        told = f"{operation}: {method} {path} {body!r} in {name}"
        self.agreed = False
        assert answer.status == status, f"{told}: {answer.status} {said!r}, not {status} {expected}"
        assert answer.headers["access-control-allow-origin"] == ("*" if files_api else None), told
        if isinstance(expected, bytes):
            assert said == (b"" if method == "HEAD" else expected), told
            assert answer.headers["content-length"] == (None if status == 304 else str(len(expected))), told
            assert status != 200 or answer.headers["etag"] == etag(expected), told
            assert answer.headers["accept-ranges"] == ("bytes" if condition == "if-range" and status != 304 else None)
        else:
            written = json.dumps(expected, indent=2, ensure_ascii=False) + ("\n" if files_api else "")
            assert said == (b"" if method == "HEAD" else written.encode()), f"{told}: {said!r}, not {written}"
        self.agreed = True
        self.subject.counted[f"{operation} {status}"] += 1
        return parsed if status == 200 else None

    def control(self, world: int, method: str, path: str, body: Json | None, foretell: Callable[[str], Any]) -> None:
        name = self.names[world]
        sent = None if body is None else json.dumps(body).encode()
        answer, said = self.subject.clients[0].ask(
            name, method, f"/_mock/worlds/{name}{path}", sent, {"Content-Type": "application/json"} if sent else None
        )
        shown = json.loads(said)
        try:
            status, expected = 200, foretell(name)
        except ModelError as raised:
            status, expected = raised.status, {"error": raised.error}
        told = f"{method} {path} {body} of {name}: {answer.status} {shown}, not {status} {expected}"
        self.agreed = False
        assert answer.status == status, told
        assert {key: shown[key] for key in expected} == expected, told
        self.agreed = True
        self.subject.counted[f"control {status}"] += 1

    # Choosing

    def some_container(self, world: int, pick: int) -> str:
        """Mostly one that is there; also a deleted one, one of another world, a made-up one."""
        there = [id for name in self.names for id in self._in(name).containers if name == self.names[world]]
        foreign = [id for name in self.names for id in self._in(name).containers if name != self.names[world]]
        return self._pick(there, foreign, "cntr_unknown", pick)

    def some_file(self, world: int, pick: int) -> str:
        there = list(self._in(self.names[world]).files)
        foreign = [id for name in self.names for id in self._in(name).files if name != self.names[world]]
        return self._pick(there, foreign, "file-unknown", pick)

    def some_inside(self, world: int, container: str, pick: int) -> str:
        """Also one of another container, and the id of a File."""
        own = self._in(self.names[world])
        there = list(own.containers[container].files) if container in own.containers else []
        elsewhere = [id for each in own.containers.values() if each.id != container for id in each.files]
        return self._pick(there, [*elsewhere[:2], *list(own.files)[:2]], "cfile_unknown", pick)

    def some_upload(self, world: int, pick: int) -> str:
        """Mostly one that is pending."""
        own = self._in(self.names[world]).uploads
        there = [id for id, each in own.items() if each.status == "pending"][-3:] or list(own)[-3:]
        foreign = [id for name in self.names for id in self._in(name).uploads if name != self.names[world]]
        return self._pick(there, foreign, "upload_unknown", pick)

    def _in(self, name: str) -> Any:
        return self.model.worlds.get(name) or Model(0).enter(name)

    def _pick(self, there: list[str], foreign: list[str], unknown: str, pick: int) -> str:
        choices = [*there * 4, *foreign[:1], *self.gone[-1:], unknown]
        return choices[pick % len(choices)]

    def some_query(self, there: list[str], pick: int) -> dict[str, str]:
        query: dict[str, str] = {}
        choices = [*there, *self.gone[-2:], "cntr_x", "file-x", "cfile_x"]
        if pick % 2:
            query["limit"] = ("1", "2", "3", "7", "100", "0", "101", "two")[pick // 2 % 8]
        if pick % 3:
            query["order"] = ("asc", "asc", "asc", "desc", "desc", "up")[pick // 3 % 6]
        if pick % 5 < 2:
            query["after"] = choices[pick // 5 % len(choices)]
        if pick % 7 < 2:
            query["before"] = choices[pick // 7 % len(choices)]
        return query

    # Containers

    @rule(
        client=clients,
        world=worlds,
        name=names,
        expiry=lifetimes,
        memory=st.sampled_from([None, "1g", "64g"]),
        policy=st.sampled_from([None, {"type": "disabled"}, {"type": "allowlist", "allowed_domains": ["é.example"]}]),
        files=st.lists(picks, max_size=3),
    )
    def create_container(
        self, client: int, world: int, name: str, expiry: Json, memory: str, policy: Json, files: list[int]
    ) -> None:
        ids = [self.some_file(world, pick) for pick in files]
        asked = {"expires_after": expiry, "memory_limit": memory, "network_policy": policy, "file_ids": ids or None}
        body = {"name": name} | {key: value for key, value in asked.items() if value is not None}

        def foretell(where: str, answer: Json) -> Json:
            return self.model.create_container(
                where, body, answer.get("id", ""), lambda: self._inside(world, answer["id"])
            )

        self.api(
            client, world, "CreateContainer", "POST", "/containers", foretell, body=json.dumps(body).encode()
        )  # fmt: skip

    def _inside(self, world: int, container: str) -> list[str]:
        """The ids of what a new container holds, which its creation doesn't tell."""
        name = self.names[world]
        if not any(fault.operation == "ListContainerFiles" and fault.left for fault in self.model.worlds[name].faults):
            path = f"/containers/{container}/files?order=asc"
            said = self.subject.clients[0].ask(name, "GET", path)[1]
            return [each["id"] for each in json.loads(said)["data"]]
        path = f"/_mock/worlds/{name}/containers/{container}/files"
        return [each["id"] for each in reversed(json.loads(self.subject.clients[0].ask(name, "GET", path)[1])["data"])]

    @rule(client=clients, world=worlds, bad=st.sampled_from(BAD_CONTAINERS))
    def create_bad_container(self, client: int, world: int, bad: tuple[Any, ModelError]) -> None:
        asked, error = bad

        def foretell(name: str, answer: Json) -> Json:
            raise error

        body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        self.api(client, world, "CreateContainer", "POST", "/containers", foretell, body=body)

    @rule(client=clients, world=worlds, pick=picks, name=st.none() | names)
    def list_containers(self, client: int, world: int, pick: int, name: str | None) -> None:
        query = self.some_query(list(self._in(self.names[world]).containers), pick)
        query |= {"name": name} if name else {}
        path = f"/containers?{urlencode(query)}"
        self.api(client, world, "ListContainers", "GET", path, lambda at, _: self.model.list_containers(at, query))

    @rule(client=clients, world=worlds, pick=picks)
    def retrieve_container(self, client: int, world: int, pick: int) -> None:
        id = self.some_container(world, pick)
        self.api(
            client, world, "RetrieveContainer", "GET", f"/containers/{id}",
            lambda name, _: self.model.retrieve_container(name, id),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks)
    def delete_container(self, client: int, world: int, pick: int) -> None:
        id = self.some_container(world, pick)
        self.gone.append(id)
        self.api(
            client, world, "DeleteContainer", "DELETE", f"/containers/{id}",
            lambda name, _: self.model.delete_container(name, id),
        )  # fmt: skip

    # Files in containers

    @rule(client=clients, world=worlds, pick=picks, name=names, content=contents)
    def upload(self, client: int, world: int, pick: int, name: str, content: bytes) -> None:
        container = self.some_container(world, pick)
        sent = form((f'Content-Disposition: form-data; name="file"; filename="{name}"', content), boundary="b0undary")
        self.api(
            client, world, "CreateContainerFile", "POST", f"/containers/{container}/files",
            lambda at, answer: self.model.add_file(at, container, name, content, answer.get("id", "")),
            body=sent, kind="multipart/form-data; boundary=b0undary",
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks, as_form=st.booleans())
    def copy(self, client: int, world: int, pick: int, other: int, as_form: bool) -> None:
        container, file = self.some_container(world, pick), self.some_file(world, other)
        sent, kind = json.dumps({"file_id": file}).encode(), "application/json"
        if as_form:
            sent = form(('Content-Disposition: form-data; name="file_id"', file.encode()))
            kind = "multipart/form-data; boundary=simple"
        self.api(
            client, world, "CreateContainerFile", "POST", f"/containers/{container}/files",
            lambda at, answer: self.model.copy_file(at, container, file, answer.get("id", "")), body=sent, kind=kind,
        )  # fmt: skip

    @rule(
        client=clients,
        world=worlds,
        pick=picks,
        bad=st.sampled_from(
            [
                (b"{}", NEITHER),
                (b'{"file_id": 1}', wrong_type("file_id", "a string", "an integer")),
                (b'{"x": 1}', unknown("x")),
                (b"[]", ModelError(400, "Invalid body: expected a JSON object, but got an array instead.")),
                (b"nonsense", ModelError(400, NOT_JSON)),
            ]
        ),
    )
    def add_nothing(self, client: int, world: int, pick: int, bad: tuple[bytes, ModelError]) -> None:
        container = self.some_container(world, pick)

        def foretell(name: str, _: Json) -> Json:
            self.model.use(name, container)
            raise bad[1]

        path = f"/containers/{container}/files"
        self.api(client, world, "CreateContainerFile", "POST", path, foretell, body=bad[0])

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def list_container_files(self, client: int, world: int, pick: int, other: int) -> None:
        container = self.some_container(world, pick)
        own = self._in(self.names[world]).containers.get(container)
        query = self.some_query(list(own.files) if own else [], other)
        path = f"/containers/{container}/files?{urlencode(query)}"
        self.api(
            client, world, "ListContainerFiles", "GET", path,
            lambda name, _: self.model.list_container_files(name, container, query),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def retrieve_container_file(self, client: int, world: int, pick: int, other: int) -> None:
        container = self.some_container(world, pick)
        file = self.some_inside(world, container, other)
        self.api(
            client, world, "RetrieveContainerFile", "GET", f"/containers/{container}/files/{file}",
            lambda name, _: self.model.inside(name, container, file).shown(),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks, method=methods, condition=conditions, had=contents)
    def retrieve_container_file_content(
        self, client: int, world: int, pick: int, other: int, method: str, condition: str | None, had: bytes
    ) -> None:
        container = self.some_container(world, pick)
        file = self.some_inside(world, container, other)
        self.api(
            client, world, "RetrieveContainerFileContent", method, f"/containers/{container}/files/{file}/content",
            lambda name, _: self.model.inside(name, container, file).content, condition=condition, tag=etag(had),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def delete_container_file(self, client: int, world: int, pick: int, other: int) -> None:
        container = self.some_container(world, pick)
        file = self.some_inside(world, container, other)
        self.gone.append(file)
        self.api(
            client, world, "DeleteContainerFile", "DELETE", f"/containers/{container}/files/{file}",
            lambda name, _: self.model.delete_container_file(name, container, file),
        )  # fmt: skip

    # Files

    @rule(
        client=clients,
        world=worlds,
        name=names,
        content=contents,
        purpose=st.sampled_from([*PURPOSES, "vision", "evals", "fun", None]),
        seconds=st.sampled_from([None, None, 3_600, 2_592_000, 3_599, 2_592_001]),
        whole=st.sampled_from([True, True, True, False]),
    )
    def create_file(
        self, client: int, world: int, name: str, content: bytes, purpose: str | None, seconds: int | None, whole: bool
    ) -> None:
        head = 'Content-Disposition: form-data; name="{}"'
        parts = [(head.format("file") + f'; filename="{name}"', content)] if whole else []
        parts += [(head.format("purpose"), purpose.encode())] if purpose else []
        if seconds is not None:
            parts += [(head.format("expires_after[anchor]"), b"created_at")]
            parts += [(head.format("expires_after[seconds]"), b"%d" % seconds)]

        def foretell(at: str, answer: Json) -> Json:
            if purpose is None:
                raise ModelError(400, "'purpose' is a required property")
            if purpose not in PURPOSES:
                raise ModelError(400, f"'{purpose}' is not one of {list(PURPOSES)} - 'purpose'", "purpose")
            if seconds == 3_599:
                message = "'3599' is less than the minimum of 3600 - 'expires_after.seconds'"
                raise ModelError(400, message, "expires_after.seconds")
            if seconds == 2_592_001:
                message = "'2592001' is greater than the maximum of 2592000 - 'expires_after.seconds'"
                raise ModelError(400, message, "expires_after.seconds")
            if not whole:
                raise ModelError(400, "'file' is a required property")
            return self.model.create_file(at, name, content, purpose, seconds, answer.get("id", ""))

        kind = "multipart/form-data; boundary=b0undary"
        sent = form(*parts, boundary="b0undary")
        if not parts:
            return
        self.api(client, world, "CreateFile", "POST", "/files", foretell, body=sent, kind=kind)

    @rule(client=clients, world=worlds, pick=picks, purpose=st.sampled_from([None, "vision", "batch", "fun"]))
    def list_files(self, client: int, world: int, pick: int, purpose: str | None) -> None:
        query = self.some_query(list(self._in(self.names[world]).files), pick)
        query |= {"purpose": purpose} if purpose else {}
        path = f"/files?{urlencode(query)}"
        self.api(client, world, "ListFiles", "GET", path, lambda name, _: self.model.list_files(name, query))

    @rule(client=clients, world=worlds, pick=picks)
    def retrieve_file(self, client: int, world: int, pick: int) -> None:
        id = self.some_file(world, pick)
        self.api(
            client, world, "RetrieveFile", "GET", f"/files/{id}", lambda name, _: self.model.file(name, id).shown()
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks)
    def delete_file(self, client: int, world: int, pick: int) -> None:
        id = self.some_file(world, pick)
        self.gone.append(id)
        self.api(
            client, world, "DeleteFile", "DELETE", f"/files/{id}", lambda name, _: self.model.delete_file(name, id)
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, method=methods, condition=conditions, had=contents)
    def download_file(self, client: int, world: int, pick: int, method: str, condition: str | None, had: bytes) -> None:
        id = self.some_file(world, pick)
        self.api(
            client, world, "DownloadFile", method, f"/files/{id}/content",
            lambda name, _: self.model.download(name, id).content, condition=condition, tag=etag(had),
        )  # fmt: skip

    # Uploads

    @rule(
        client=clients,
        world=worlds,
        name=names,
        size=st.sampled_from([0, 1, 20_000, 20_001, 40_000]),
        purpose=st.sampled_from(["vision", "vision", "batch", "fun"]),
        seconds=st.sampled_from([None, 3_600]),
    )
    def create_upload(self, client: int, world: int, name: str, size: int, purpose: str, seconds: int | None) -> None:
        body: Json = {"bytes": size, "filename": name, "purpose": purpose, "mime_type": "text/plain"}
        body |= {"expires_after": {"anchor": "created_at", "seconds": seconds}} if seconds else {}

        def foretell(at: str, answer: Json) -> Json:
            if purpose not in PURPOSES:
                raise ModelError(400, f"'{purpose}' is not one of {list(PURPOSES)} - 'purpose'", "purpose")
            return self.model.create_upload(at, body, answer.get("id", ""))

        self.api(client, world, "CreateUpload", "POST", "/uploads", foretell, body=json.dumps(body).encode())

    @rule(client=clients, world=worlds, pick=picks, content=st.sampled_from([b"", b"x", b"A" * 20_000, b"B" * 20_000]))
    def add_part(self, client: int, world: int, pick: int, content: bytes) -> None:
        upload = self.some_upload(world, pick)
        self.api(
            client, world, "AddUploadPart", "POST", f"/uploads/{upload}/parts",
            lambda name, answer: self.model.add_part(name, upload, content, answer.get("id", "")),
            body=form(('Content-Disposition: form-data; name="data"', content)),
            kind="multipart/form-data; boundary=simple",
        )  # fmt: skip

    @rule(
        client=clients,
        world=worlds,
        pick=picks,
        turn=st.integers(0, 3),
        also=st.sampled_from([*[[]] * 8, [0], ["part_unknown"]]),
        md5=st.sampled_from([None] * 8 + ["0"]),
    )
    def complete_upload(self, client: int, world: int, pick: int, turn: int, also: list[Any], md5: str | None) -> None:
        """Mostly with as many parts as fit."""
        upload = self.some_upload(world, pick)
        there = self._in(self.names[world]).uploads.get(upload)
        parts = dict(there.parts) if there else {}
        order = [*list(parts)[turn:], *list(parts)[:turn]]
        part_ids: list[str] = []
        for id in order:
            if sum(len(parts[each]) for each in [*part_ids, id]) <= there.bytes:
                part_ids.append(id)
        part_ids += [part_ids[0] if each == 0 and part_ids else "part_unknown" for each in also]
        body = {"part_ids": part_ids} | ({"md5": md5} if md5 else {})
        self.api(
            client, world, "CompleteUpload", "POST", f"/uploads/{upload}/complete",
            lambda name, answer: self.model.complete_upload(
                name, upload, part_ids, md5, answer.get("file", {}).get("id", "")
            ),
            body=json.dumps(body).encode(),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks)
    def cancel_upload(self, client: int, world: int, pick: int) -> None:
        id = self.some_upload(world, pick)
        path = f"/uploads/{id}/cancel"
        self.api(client, world, "CancelUpload", "POST", path, lambda name, _: self.model.cancel_upload(name, id))

    # Skills

    def some_skill(self, world: int, pick: int) -> str:
        there = list(self._in(self.names[world]).skills)
        foreign = [id for name in self.names for id in self._in(name).skills if name != self.names[world]]
        return self._pick(there, foreign, "skill_unknown", pick)

    def some_version(self, world: int, skill: str, pick: int) -> str:
        own = self._in(self.names[world]).skills.get(skill)
        choices = [*(list(map(str, own.versions)) * 4 if own else ()), "1", "2", "9", "latest", "0"]
        return choices[pick % len(choices)]

    def _version_id(self, world: int, skill: str) -> str:
        """The id of a new skill's version, which its creation doesn't tell."""
        name = self.names[world]
        path = f"/_mock/worlds/{name}/skills/{skill}/versions/1"
        return str(json.loads(self.subject.clients[0].ask(name, "GET", path)[1])["id"])

    @rule(client=clients, world=worlds, name=skill_names)
    def create_skill(self, client: int, world: int, name: str) -> None:
        content = zipped({"m/SKILL.md": manifest(name, f"It is {name}.")})
        sent = form(('Content-Disposition: form-data; name="files"; filename="m.zip"', content))
        self.api(
            client, world, "CreateSkill", "POST", "/skills",
            lambda at, answer: self.model.create_skill(
                at, name, content, answer.get("id", ""), self._version_id(world, answer["id"])
            ),
            body=sent, kind="multipart/form-data; boundary=simple",
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, name=skill_names, default=st.booleans())
    def create_version(self, client: int, world: int, pick: int, name: str, default: bool) -> None:
        skill = self.some_skill(world, pick)
        content = zipped({"m/SKILL.md": manifest(name, f"It is {name}.")})
        parts = [('Content-Disposition: form-data; name="files[]"; filename="m.zip"', content)]
        parts += [('Content-Disposition: form-data; name="default"', b"true")] if default else []
        self.api(
            client, world, "CreateSkillVersion", "POST", f"/skills/{skill}/versions",
            lambda at, answer: self.model.create_version(at, skill, name, content, default, answer.get("id", "")),
            body=form(*parts), kind="multipart/form-data; boundary=simple",
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks)
    def list_skills(self, client: int, world: int, pick: int) -> None:
        query = {key: value for key, value in self.some_query([], pick).items() if key in ("limit", "order")}
        path = f"/skills?{urlencode(query)}"
        self.api(client, world, "ListSkills", "GET", path, lambda at, _: self.model.list_skills(at, query))

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def list_versions(self, client: int, world: int, pick: int, other: int) -> None:
        skill = self.some_skill(world, pick)
        query = {key: value for key, value in self.some_query([], other).items() if key in ("limit", "order")}
        path = f"/skills/{skill}/versions?{urlencode(query)}"
        self.api(
            client, world, "ListSkillVersions", "GET", path, lambda at, _: self.model.list_versions(at, skill, query)
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks)
    def retrieve_skill(self, client: int, world: int, pick: int) -> None:
        id = self.some_skill(world, pick)
        path = f"/skills/{id}"
        self.api(client, world, "RetrieveSkill", "GET", path, lambda at, _: self.model.skill(at, id).shown())

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def retrieve_version(self, client: int, world: int, pick: int, other: int) -> None:
        skill = self.some_skill(world, pick)
        number = self.some_version(world, skill, other)
        self.api(
            client, world, "RetrieveSkillVersion", "GET", f"/skills/{skill}/versions/{number}",
            lambda at, _: self.model.version(at, skill, number).shown(skill),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks, method=st.sampled_from(["GET", "GET", "HEAD"]))
    def skill_contents(self, client: int, world: int, pick: int, other: int, method: str) -> None:
        skill = self.some_skill(world, pick)
        number = self.some_version(world, skill, other)

        def default(at: str, _: Json) -> bytes:
            found = self.model.skill(at, skill)
            return found.versions[found.default].content

        self.api(client, world, "RetrieveSkillContent", method, f"/skills/{skill}/content", default)
        self.api(
            client, world, "RetrieveSkillVersionContent", method, f"/skills/{skill}/versions/{number}/content",
            lambda at, _: self.model.version(at, skill, number).content,
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def update_skill(self, client: int, world: int, pick: int, other: int) -> None:
        skill = self.some_skill(world, pick)
        number = self.some_version(world, skill, other)
        self.api(
            client, world, "UpdateSkill", "POST", f"/skills/{skill}",
            lambda at, _: self.model.set_default(at, skill, number),
            body=json.dumps({"default_version": number}).encode(),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def delete_version(self, client: int, world: int, pick: int, other: int) -> None:
        skill = self.some_skill(world, pick)
        number = self.some_version(world, skill, other)
        own = self._in(self.names[world]).skills.get(skill)
        if other % 2 and own and len(own.versions) > 1:  # mostly one that can be deleted
            number = str(max(each for each in own.versions if each != own.default))
        self.api(
            client, world, "DeleteSkillVersion", "DELETE", f"/skills/{skill}/versions/{number}",
            lambda at, _: self.model.delete_version(at, skill, number),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks)
    def delete_skill(self, client: int, world: int, pick: int) -> None:
        id = self.some_skill(world, pick)
        self.api(
            client, world, "DeleteSkill", "DELETE", f"/skills/{id}", lambda at, _: self.model.delete_skill(at, id)
        )  # fmt: skip

    # Several at once

    @rule(world=worlds, many=st.integers(2, CLIENTS))
    def create_at_once(self, world: int, many: int) -> None:
        """In whatever order the server takes them: a list tells it."""
        name = self.names[world]
        if name not in self.model.worlds or any(fault.left for fault in self.model.worlds[name].faults):
            return
        label = f"burst {self.model.worlds[name].ordinal}"
        body = json.dumps({"name": label}).encode()
        with ThreadPoolExecutor(many) as pool:
            asked = [
                pool.submit(client.ask, name, "POST", "/containers", body, {"Content-Type": "application/json"})
                for client in self.subject.clients[:many]
            ]
        made = {answer["id"]: answer for answer in (json.loads(each.result()[1]) for each in asked)}
        path = f"/containers?order=asc&limit=100&name={quote(label)}"
        order = [each["id"] for each in json.loads(self.subject.clients[0].ask(name, "GET", path)[1])["data"]]
        for id in [id for id in order if id in made]:
            assert made.pop(id) == self.model.create_container(name, {"name": label}, id, list)
            self.subject.counted["CreateContainer 200"] += 1
        assert not made

    # Time

    @rule(seconds=spans)
    def pass_time(self, seconds: float) -> None:
        self.subject.wall.time += seconds
        self.model.wall += seconds

    @rule(world=worlds, at=st.none() | st.integers(-2_000_000, 2_000_000).map(lambda each: NOON + each / 4))
    def freeze(self, world: int, at: float | None) -> None:
        self._change(
            "freeze", world, {} if at is None else {"at": at}, lambda of, wall: (of.at(wall) if at is None else at, 0.0)
        )

    @rule(world=worlds, by=spans)
    def advance(self, world: int, by: float) -> None:
        self._change("advance", world, {"by": by}, lambda of, wall: (of.at(wall) + by, of.rate))

    @rule(world=worlds, by=spans, back=st.booleans())
    def offset(self, world: int, by: float, back: bool) -> None:
        by = -by if back else by
        self._change("offset", world, {"by": by}, lambda _, wall: (wall + by, 1.0))

    @rule(world=worlds, rate=st.sampled_from([0.0, 0.5, 1.0, 60.0]))
    def scale(self, world: int, rate: float) -> None:
        self._change("scale", world, {"rate": rate}, lambda of, wall: (of.at(wall), rate))

    @rule(world=worlds)
    def resume(self, world: int) -> None:
        self._change("resume", world, None, lambda of, wall: (of.at(wall), 1.0))

    @rule(world=worlds)
    def reset_clock(self, world: int) -> None:
        self._change("reset", world, None, lambda _, wall: (wall, 1.0))

    def _change(
        self, how: str, world: int, body: Json | None, change: Callable[[Any, float], tuple[float, float]]
    ) -> None:
        self.control(
            world, "POST", f"/clock/{how}", body, lambda name: self.model.change_clock(name, change)
        )  # fmt: skip

    # Worlds

    @rule(world=worlds)
    def look(self, world: int) -> None:
        self.control(world, "GET", "", None, self.model.counted)

    @rule(world=worlds, snapshot=st.sampled_from("xy"))
    def take_snapshot(self, world: int, snapshot: str) -> None:
        self.control(world, "PUT", f"/snapshots/{snapshot}", None, lambda at: self.model.take_snapshot(at, snapshot))

    @rule(world=worlds, snapshot=st.sampled_from("xy"))
    def restore_snapshot(self, world: int, snapshot: str) -> None:
        path = f"/snapshots/{snapshot}/restore"
        self.control(world, "POST", path, None, lambda name: self.model.restore(name, snapshot))

    @rule(world=worlds, of=worlds, snapshot=st.sampled_from([None, None, "x", "y"]), afresh=st.booleans())
    def fork(self, world: int, of: int, snapshot: str | None, afresh: bool) -> None:
        if afresh and world != of:
            self.control(world, "DELETE", "", None, self.model.delete_world)
        body = {"fork_of": self.names[of]} | ({"snapshot": snapshot} if snapshot else {})

        def foretell(name: str) -> Json:
            self.model.fork(name, self.names[of], snapshot)
            return self.model.counted(name)

        self.control(world, "POST", "", body, foretell)

    @rule(world=worlds, odds=st.integers(0, 3))
    def reset(self, world: int, odds: int) -> None:
        if odds != 1:
            return

        def foretell(name: str) -> Json:
            self.model.reset(name)
            return self.model.counted(name)

        self.control(world, "POST", "/reset", None, foretell)

    @rule(world=worlds, odds=st.integers(0, 3))
    def delete_world(self, world: int, odds: int) -> None:
        if odds == 1:
            self.control(world, "DELETE", "", None, self.model.delete_world)

    @rule(
        world=worlds,
        operation=st.sampled_from(OPERATIONS),
        status=st.sampled_from([500, 503]),
        times=st.integers(1, 2),
        odds=st.integers(0, 3),
    )
    def add_fault(self, world: int, operation: str, status: int, times: int, odds: int) -> None:
        if odds != 1:
            return
        rule = {"match": {"operation": operation}, "times": times, "effect": {"status": status}}

        def foretell(name: str) -> Json:
            self.model.enter(name).faults.append(Fault(operation, status, times))
            return {"matched": 0, "fired": 0}

        self.control(world, "POST", "/faults", rule, foretell)

    @rule(world=worlds)
    def delete_faults(self, world: int) -> None:
        def foretell(name: str) -> Json:
            self.model.enter(name).faults.clear()
            return {"data": []}

        self.control(world, "DELETE", "/faults", None, foretell)

    @rule(odds=st.integers(0, 9))
    def restart(self, odds: int) -> None:
        if odds == 1:
            self.subject.restart()
            self.subject.counted["restart"] += 1

    # At the end of each run

    def teardown(self) -> None:
        for world, name in enumerate(getattr(self, "names", [])):
            if self.agreed:
                self.control(world, "GET", "", None, self.model.counted)
            if self.agreed and name in self.model.worlds:
                self._all_there(world, name)
            self.subject.clients[0].ask(name, "DELETE", f"/_mock/worlds/{name}")
        left = [*stored(self.subject.data), *self.subject.data.glob("uploads/*")]
        assert not left

    def _all_there(self, world: int, name: str) -> None:
        """Everything that the model holds, with its bytes."""
        self.model.worlds[name].faults.clear()
        self.control(world, "DELETE", "/faults", None, lambda _: {"data": []})
        for id, container in list(self.model.worlds[name].containers.items()):
            for file in list(container.files.values()):
                path = f"/containers/{id}/files/{file.id}/content"
                if self.api(0, world, "RetrieveContainerFileContent", "GET", path, self._content(id, file.id)) is None:
                    continue
                answer, _ = self.subject.clients[0].ask(name, "HEAD", path)
                assert answer.headers["content-disposition"] == disposition(file.path)
        for id in list(self.model.worlds[name].files):
            self.api(1, world, "DownloadFile", "GET", f"/files/{id}/content", self._download(id))  # fmt: skip

    def _download(self, id: str) -> Callable[[str, Json], bytes]:
        return lambda name, _: self.model.download(name, id).content

    def _content(self, container: str, file: str) -> Callable[[str, Json], bytes]:
        return lambda name, _: self.model.inside(name, container, file).content


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    running = Subject(tmp_path_factory.mktemp("data"))
    yield running
    running.stop()


def compare(subject: Subject, runs: int, steps: int) -> Counter[str]:
    """So many runs of so many steps; returns, and says, how many answers were compared."""

    class Here(Beside):
        pass

    Here.subject = subject
    before = subject.counted.copy()
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,  # what is counted would differ from run to run
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),  # of a busy machine and of large runs
        ),
    )
    counted = subject.counted - before
    print(f"\n{counted.total():,} answers compared, {counted['restart']} restarts: {dict(sorted(counted.items()))}")
    return counted


def test_the_server_does_what_the_model_says(subject: Subject) -> None:
    assert compare(subject, runs=2, steps=25).total() > 20


@pytest.mark.slow
def test_the_server_does_what_the_model_says_for_long(subject: Subject) -> None:
    counted = compare(subject, runs=400, steps=80)
    assert counted.total() >= tried("answers compared")
    assert counted["restart"] > 10
    assert [each for each in OPERATIONS if counted[f"{each} 200"] < 20] == []
