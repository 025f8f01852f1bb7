"""Compare the server with the model in `model.py`: random requests of several clients to several worlds.

Responses of the API are compared byte for byte, responses of the control plane field by field. The test controls the
machine's clock, so the model can predict real and scaled clocks as well as frozen ones.
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
from conftest import NOON, stored
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from manual import tried
from model import (
    MISSING_FILE,
    PURPOSES,
    Fault,
    Json,
    Model,
    ModelError,
    conditional_download,
    content_disposition,
    etag,
    invalid_type,
    invalid_value,
    missing_parameter,
    out_of_range,
    unknown_parameter,
)
from rawhttp import TIMEOUT, form
from skill_bundles import manifest, zipped
from test_worlds import ManualWall

from mockserver.server.serving import MockServer

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


class Client:
    """A connection that names worlds in one of three ways: by the URL, or by the key, with `/v1` or without."""

    def __init__(self, port: int, style: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._style = style

    def request(
        self, world: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        prefix, key = (
            (f"/w/{world}/v1", "Bearer sk-test"),
            ("/v1", f"Bearer sk-world-{world}"),
            ("", f"bearer  sk-world-{world}"),
        )[self._style]
        prefix = "" if path.startswith("/_mock") else prefix
        self._connection.request(method, prefix + path, body, {"Authorization": key, **(headers or {})})
        response = self._connection.getresponse()
        return response, response.read()

    def close(self) -> None:
        self._connection.close()


class ServerUnderTest:
    """A server that can be restarted on its data directory, with its clients."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.wall = ManualWall(float(NOON))
        self.compared: Counter[str] = Counter()
        """The number of compared responses by operation and status, and of restarts."""
        self.examples = itertools.count()
        self._start()

    def _start(self) -> None:
        self.mock = MockServer(wall=self.wall, data=self.data).__enter__()
        self.clients = [Client(self.mock.port, style) for style in range(CLIENTS)]

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.mock.__exit__(None, None, None)

    def restart(self) -> None:
        self.stop()
        self._start()


NOT_JSON = (
    "Invalid body: failed to parse JSON value. Please check the value to ensure it is valid JSON. (Common errors "
    "include trailing commas, missing closing brackets, missing quotation marks, etc.)"
)
INVALID_CONTAINERS: list[tuple[Any, ModelError]] = [
    ({}, missing_parameter("name")),
    ({"name": 7}, invalid_type("name", "a string", "an integer")),
    ({"name": None}, invalid_type("name", "a string", "null")),
    ({"name": "x", "foo": 1}, unknown_parameter("foo")),
    ({"name": "x", "memory_limit": "2g"}, invalid_value("memory_limit", "2g", "'1g', '4g', '16g', and '64g'")),
    ({"name": "x", "file_ids": "file-1"}, invalid_type("file_ids", "an array", "a string")),
    ({"name": "x", "file_ids": [None]}, invalid_type("file_ids[0]", "a string", "null")),
    ({"name": "x", "expires_after": {"minutes": 5}}, missing_parameter("expires_after.anchor")),
    (
        {"name": "x", "expires_after": {"anchor": "last_active_at", "minutes": 0}},
        out_of_range("expires_after.minutes", 0, 1, 20),
    ),
    (
        {"name": "x", "expires_after": {"anchor": "now", "minutes": 1}},
        invalid_value("expires_after.anchor", "now", "'last_active_at'"),
    ),
    ({"name": "x", "network_policy": {"type": "open"}}, invalid_value("network_policy.type", "open", "'disabled' and 'allowlist'")),
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


class ServerAndModel(RuleBasedStateMachine):
    """Each rule sends a request to the server and compares the response with the model's prediction."""

    server: ClassVar[ServerUnderTest]

    @initialize()
    def create_objects(self) -> None:
        number = next(self.server.examples)
        self.names = [f"m{number}-{letter}" for letter in "abc"]
        self.model = Model(self.server.wall.at)
        self.deleted_ids: list[str] = []
        self.matched = True
        for world in (0, 1):  # otherwise most random requests would name no object
            self.create_file(world, world, "a.txt", b"shared" * 50, "vision", None, True)
            self.create_file(world, world, "b.jsonl", b"x", "batch", 3_600, True)
            self.create_container(world, world, "a.txt", None, "4g", {"type": "disabled"}, [0, 1])
            self.create_container(world, world, "b.csv", {"anchor": "created_at", "minutes": 30}, None, None, [])
            self.upload_container_file(world, world, 1, "ünï.md", b"")
            self.create_upload(world, world, "a.txt", 20_000, "vision", None)
            self.add_part(world, world, 0, b"A" * 20_000)
            self.create_skill(world, world, "one")

    # Requests and comparison

    def api(
        self,
        client: int,
        world: int,
        operation: str,
        method: str,
        path: str,
        predict: Callable[[str, Json], Any],
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        condition: str | None = None,
        tag: str = "",
    ) -> Any:
        """Send a request of the API to the server and compare the response with the model's.

        `predict` takes the world's name and the server's response, from which it needs the new ids. `condition` is
        the name of a conditional header of a download, and `tag` the entity tag in it.
        """
        name = self.names[world]
        headers = {} if body is None else {"Content-Type": content_type}
        headers |= {condition: tag} if condition else {}
        headers |= {"range": "bytes=1-"} if condition == "if-range" else {}
        response, received = self.server.clients[client].request(name, method, path, body, headers)
        files_api = path.startswith(("/files", "/uploads"))
        parsed = json.loads(received) if response.status == 200 and not path.endswith("/content") else {}
        try:
            self.model.raise_fault(name, operation)
            status, expected = 200, predict(name, parsed)
            if isinstance(expected, bytes):
                status, expected = conditional_download(expected, condition, tag)
        except ModelError as raised:
            digits = r"req_(.{8})(.{4})(.{4})(.{4})(.{12})"
            request_id = re.sub(digits, r"\1-\2-\3-\4-\5", str(response.headers["x-request-id"]))
            error = raised.error | {"message": str(raised).replace("{request_id}", request_id)}
            status, expected = raised.status, {"error": error}
            if files_api:
                expected["detail"] = {key: error[key] for key in ("message", "code")}
        request = f"{operation}: {method} {path} {body!r} in {name}"
        self.matched = False
        assert response.status == status, f"{request}: {response.status} {received!r}, not {status} {expected}"
        assert response.headers["access-control-allow-origin"] == ("*" if files_api else None), request
        if isinstance(expected, bytes):
            assert received == (b"" if method == "HEAD" else expected), request
            assert response.headers["content-length"] == (None if status == 304 else str(len(expected))), request
            assert status != 200 or response.headers["etag"] == etag(expected), request
            assert response.headers["accept-ranges"] == ("bytes" if condition == "if-range" and status != 304 else None)
        else:
            text = json.dumps(expected, indent=2, ensure_ascii=False) + ("\n" if files_api else "")
            assert received == (b"" if method == "HEAD" else text.encode()), f"{request}: {received!r}, not {text}"
        self.matched = True
        self.server.compared[f"{operation} {status}"] += 1
        return parsed if status == 200 else None

    def control(self, world: int, method: str, path: str, body: Json | None, predict: Callable[[str], Any]) -> None:
        """Send a request of the control plane to the server and compare the response's fields with the model's."""
        name = self.names[world]
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if content else None
        response, received = self.server.clients[0].request(
            name, method, f"/_mock/worlds/{name}{path}", content, headers
        )
        fields = json.loads(received)
        try:
            status, expected = 200, predict(name)
        except ModelError as raised:
            status, expected = raised.status, {"error": raised.error}
        difference = f"{method} {path} {body} of {name}: {response.status} {fields}, not {status} {expected}"
        self.matched = False
        assert response.status == status, difference
        assert {key: fields[key] for key in expected} == expected, difference
        self.matched = True
        self.server.compared[f"control {status}"] += 1

    # Choice of objects

    def some_container(self, world: int, pick: int) -> str:
        return self._pick(*self._ids("containers", world), "cntr_unknown", pick)

    def some_file(self, world: int, pick: int) -> str:
        return self._pick(*self._ids("files", world), "file-unknown", pick)

    def some_container_file(self, world: int, container: str, pick: int) -> str:
        """Choose a file of the container in most cases, otherwise also one of another container, or a File."""
        found = self._world(self.names[world])
        own = list(found.containers[container].files) if container in found.containers else []
        others = [id for each in found.containers.values() if each.id != container for id in each.files]
        return self._pick(own, [*others[:2], *list(found.files)[:2]], "cfile_unknown", pick)

    def some_upload(self, world: int, pick: int) -> str:
        """Choose a pending upload in most cases."""
        uploads = self._world(self.names[world]).uploads
        own = [id for id, each in uploads.items() if each.status == "pending"][-3:] or list(uploads)[-3:]
        _, others = self._ids("uploads", world)
        return self._pick(own, others, "upload_unknown", pick)

    def _world(self, name: str) -> Any:
        return self.model.worlds.get(name) or Model(0).get_or_create(name)

    def _ids(self, kind: str, world: int) -> tuple[list[str], list[str]]:
        """Return the ids of a world's objects of a kind, and those of the other worlds."""
        own = list(getattr(self._world(self.names[world]), kind))
        others = [id for name in self.names if name != self.names[world] for id in getattr(self._world(name), kind)]
        return own, others

    def _pick(self, own: list[str], others: list[str], unknown: str, pick: int) -> str:
        """Choose an id of the world in most cases, otherwise a deleted, foreign or unknown one."""
        choices = [*own * 4, *others[:1], *self.deleted_ids[-1:], unknown]
        return choices[pick % len(choices)]

    def some_query(self, ids: list[str], pick: int) -> dict[str, str]:
        query: dict[str, str] = {}
        choices = [*ids, *self.deleted_ids[-2:], "cntr_x", "file-x", "cfile_x"]
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
        fields = {"expires_after": expiry, "memory_limit": memory, "network_policy": policy, "file_ids": ids or None}
        body = {"name": name} | {key: value for key, value in fields.items() if value is not None}

        def predict(at: str, response: Json) -> Json:
            return self.model.create_container(
                at, body, response.get("id", ""), lambda: self._container_files(world, response["id"])
            )

        self.api(
            client, world, "CreateContainer", "POST", "/containers", predict, body=json.dumps(body).encode()
        )  # fmt: skip

    def _container_files(self, world: int, container: str) -> list[str]:
        """Return the ids of a new container's files, which are not in the response to its creation."""
        name = self.names[world]
        if not any(
            fault.operation == "ListContainerFiles" and fault.remaining for fault in self.model.worlds[name].faults
        ):
            path = f"/containers/{container}/files?order=asc"
            page = json.loads(self.server.clients[0].request(name, "GET", path)[1])
            return [each["id"] for each in page["data"]]
        path = f"/_mock/worlds/{name}/containers/{container}/files"
        page = json.loads(self.server.clients[0].request(name, "GET", path)[1])
        return [each["id"] for each in reversed(page["data"])]

    @rule(client=clients, world=worlds, case=st.sampled_from(INVALID_CONTAINERS))
    def create_invalid_container(self, client: int, world: int, case: tuple[Any, ModelError]) -> None:
        body, error = case

        def predict(name: str, _: Json) -> Json:
            raise error

        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.api(client, world, "CreateContainer", "POST", "/containers", predict, body=content)

    @rule(client=clients, world=worlds, pick=picks, name=st.none() | names)
    def list_containers(self, client: int, world: int, pick: int, name: str | None) -> None:
        query = self.some_query(list(self._world(self.names[world]).containers), pick)
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
        self.deleted_ids.append(id)
        self.api(
            client, world, "DeleteContainer", "DELETE", f"/containers/{id}",
            lambda name, _: self.model.delete_container(name, id),
        )  # fmt: skip

    # Files in containers

    @rule(client=clients, world=worlds, pick=picks, name=names, content=contents)
    def upload_container_file(self, client: int, world: int, pick: int, name: str, content: bytes) -> None:
        container = self.some_container(world, pick)
        body = form((f'Content-Disposition: form-data; name="file"; filename="{name}"', content), boundary="b0undary")
        self.api(
            client, world, "CreateContainerFile", "POST", f"/containers/{container}/files",
            lambda at, response: self.model.add_file(at, container, name, content, response.get("id", "")),
            body=body, content_type="multipart/form-data; boundary=b0undary",
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks, as_form=st.booleans())
    def copy_file(self, client: int, world: int, pick: int, other: int, as_form: bool) -> None:
        container, file = self.some_container(world, pick), self.some_file(world, other)
        body, content_type = json.dumps({"file_id": file}).encode(), "application/json"
        if as_form:
            body = form(('Content-Disposition: form-data; name="file_id"', file.encode()))
            content_type = "multipart/form-data; boundary=simple"
        self.api(
            client, world, "CreateContainerFile", "POST", f"/containers/{container}/files",
            lambda at, response: self.model.copy_file(at, container, file, response.get("id", "")),
            body=body, content_type=content_type,
        )  # fmt: skip

    @rule(
        client=clients,
        world=worlds,
        pick=picks,
        case=st.sampled_from(
            [
                (b"{}", MISSING_FILE),
                (b'{"file_id": 1}', invalid_type("file_id", "a string", "an integer")),
                (b'{"x": 1}', unknown_parameter("x")),
                (b"[]", ModelError(400, "Invalid body: expected a JSON object, but got an array instead.")),
                (b"nonsense", ModelError(400, NOT_JSON)),
            ]
        ),
    )
    def create_invalid_container_file(self, client: int, world: int, pick: int, case: tuple[bytes, ModelError]) -> None:
        container, (body, error) = self.some_container(world, pick), case

        def predict(name: str, _: Json) -> Json:
            self.model.use_container(name, container)
            raise error

        path = f"/containers/{container}/files"
        self.api(client, world, "CreateContainerFile", "POST", path, predict, body=body)

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def list_container_files(self, client: int, world: int, pick: int, other: int) -> None:
        container = self.some_container(world, pick)
        own = self._world(self.names[world]).containers.get(container)
        query = self.some_query(list(own.files) if own else [], other)
        path = f"/containers/{container}/files?{urlencode(query)}"
        self.api(
            client, world, "ListContainerFiles", "GET", path,
            lambda name, _: self.model.list_container_files(name, container, query),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def retrieve_container_file(self, client: int, world: int, pick: int, other: int) -> None:
        container = self.some_container(world, pick)
        file = self.some_container_file(world, container, other)
        self.api(
            client, world, "RetrieveContainerFile", "GET", f"/containers/{container}/files/{file}",
            lambda name, _: self.model.container_file(name, container, file).as_json(),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks, method=methods, condition=conditions, cached=contents)
    def retrieve_container_file_content(
        self, client: int, world: int, pick: int, other: int, method: str, condition: str | None, cached: bytes
    ) -> None:
        container = self.some_container(world, pick)
        file = self.some_container_file(world, container, other)
        self.api(
            client, world, "RetrieveContainerFileContent", method, f"/containers/{container}/files/{file}/content",
            lambda name, _: self.model.container_file(name, container, file).content,
            condition=condition, tag=etag(cached),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def delete_container_file(self, client: int, world: int, pick: int, other: int) -> None:
        container = self.some_container(world, pick)
        file = self.some_container_file(world, container, other)
        self.deleted_ids.append(file)
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
        with_file=st.sampled_from([True, True, True, False]),
    )
    def create_file(
        self,
        client: int,
        world: int,
        name: str,
        content: bytes,
        purpose: str | None,
        seconds: int | None,
        with_file: bool,
    ) -> None:
        head = 'Content-Disposition: form-data; name="{}"'
        parts = [(head.format("file") + f'; filename="{name}"', content)] if with_file else []
        parts += [(head.format("purpose"), purpose.encode())] if purpose else []
        if seconds is not None:
            parts += [(head.format("expires_after[anchor]"), b"created_at")]
            parts += [(head.format("expires_after[seconds]"), b"%d" % seconds)]

        def predict(at: str, response: Json) -> Json:
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
            if not with_file:
                raise ModelError(400, "'file' is a required property")
            return self.model.create_file(at, name, content, purpose, seconds, response.get("id", ""))

        if not parts:
            return
        content_type, body = "multipart/form-data; boundary=b0undary", form(*parts, boundary="b0undary")
        self.api(client, world, "CreateFile", "POST", "/files", predict, body=body, content_type=content_type)

    @rule(client=clients, world=worlds, pick=picks, purpose=st.sampled_from([None, "vision", "batch", "fun"]))
    def list_files(self, client: int, world: int, pick: int, purpose: str | None) -> None:
        query = self.some_query(list(self._world(self.names[world]).files), pick)
        query |= {"purpose": purpose} if purpose else {}
        path = f"/files?{urlencode(query)}"
        self.api(client, world, "ListFiles", "GET", path, lambda name, _: self.model.list_files(name, query))

    @rule(client=clients, world=worlds, pick=picks)
    def retrieve_file(self, client: int, world: int, pick: int) -> None:
        id = self.some_file(world, pick)
        self.api(
            client, world, "RetrieveFile", "GET", f"/files/{id}", lambda name, _: self.model.file(name, id).as_json()
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks)
    def delete_file(self, client: int, world: int, pick: int) -> None:
        id = self.some_file(world, pick)
        self.deleted_ids.append(id)
        self.api(
            client, world, "DeleteFile", "DELETE", f"/files/{id}", lambda name, _: self.model.delete_file(name, id)
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, method=methods, condition=conditions, cached=contents)
    def download_file(
        self, client: int, world: int, pick: int, method: str, condition: str | None, cached: bytes
    ) -> None:
        id = self.some_file(world, pick)
        self.api(
            client, world, "DownloadFile", method, f"/files/{id}/content",
            lambda name, _: self.model.download(name, id).content, condition=condition, tag=etag(cached),
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

        def predict(at: str, response: Json) -> Json:
            if purpose not in PURPOSES:
                raise ModelError(400, f"'{purpose}' is not one of {list(PURPOSES)} - 'purpose'", "purpose")
            return self.model.create_upload(at, body, response.get("id", ""))

        self.api(client, world, "CreateUpload", "POST", "/uploads", predict, body=json.dumps(body).encode())

    @rule(client=clients, world=worlds, pick=picks, content=st.sampled_from([b"", b"x", b"A" * 20_000, b"B" * 20_000]))
    def add_part(self, client: int, world: int, pick: int, content: bytes) -> None:
        upload = self.some_upload(world, pick)
        self.api(
            client, world, "AddUploadPart", "POST", f"/uploads/{upload}/parts",
            lambda name, response: self.model.add_part(name, upload, content, response.get("id", "")),
            body=form(('Content-Disposition: form-data; name="data"', content)),
            content_type="multipart/form-data; boundary=simple",
        )  # fmt: skip

    @rule(
        client=clients,
        world=worlds,
        pick=picks,
        rotation=st.integers(0, 3),
        extra=st.sampled_from([*[[]] * 8, [0], ["part_unknown"]]),
        md5=st.sampled_from([None] * 8 + ["0"]),
    )
    def complete_upload(
        self, client: int, world: int, pick: int, rotation: int, extra: list[Any], md5: str | None
    ) -> None:
        """Send as many parts as fit the upload's size, in most cases without a duplicate or unknown part."""
        id = self.some_upload(world, pick)
        upload = self._world(self.names[world]).uploads.get(id)
        parts = dict(upload.parts) if upload else {}
        order = [*list(parts)[rotation:], *list(parts)[:rotation]]
        part_ids: list[str] = []
        for part in order:
            if sum(len(parts[each]) for each in [*part_ids, part]) <= upload.bytes:
                part_ids.append(part)
        part_ids += [part_ids[0] if each == 0 and part_ids else "part_unknown" for each in extra]
        body = {"part_ids": part_ids} | ({"md5": md5} if md5 else {})
        self.api(
            client, world, "CompleteUpload", "POST", f"/uploads/{id}/complete",
            lambda name, response: self.model.complete_upload(
                name, id, part_ids, md5, response.get("file", {}).get("id", "")
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
        return self._pick(*self._ids("skills", world), "skill_unknown", pick)

    def some_version(self, world: int, skill: str, pick: int) -> str:
        found = self._world(self.names[world]).skills.get(skill)
        choices = [*(list(map(str, found.versions)) * 4 if found else ()), "1", "2", "9", "latest", "0"]
        return choices[pick % len(choices)]

    def _version_id(self, world: int, skill: str) -> str:
        """Return the id of a new skill's version, which is not in the response to its creation."""
        name = self.names[world]
        path = f"/_mock/worlds/{name}/skills/{skill}/versions/1"
        return str(json.loads(self.server.clients[0].request(name, "GET", path)[1])["id"])

    @rule(client=clients, world=worlds, name=skill_names)
    def create_skill(self, client: int, world: int, name: str) -> None:
        content = zipped({"m/SKILL.md": manifest(name, f"It is {name}.")})
        body = form(('Content-Disposition: form-data; name="files"; filename="m.zip"', content))
        self.api(
            client, world, "CreateSkill", "POST", "/skills",
            lambda at, response: self.model.create_skill(
                at, name, content, response.get("id", ""), self._version_id(world, response["id"])
            ),
            body=body, content_type="multipart/form-data; boundary=simple",
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, name=skill_names, default=st.booleans())
    def create_version(self, client: int, world: int, pick: int, name: str, default: bool) -> None:
        skill = self.some_skill(world, pick)
        content = zipped({"m/SKILL.md": manifest(name, f"It is {name}.")})
        parts = [('Content-Disposition: form-data; name="files[]"; filename="m.zip"', content)]
        parts += [('Content-Disposition: form-data; name="default"', b"true")] if default else []
        self.api(
            client, world, "CreateSkillVersion", "POST", f"/skills/{skill}/versions",
            lambda at, response: self.model.create_version(at, skill, name, content, default, response.get("id", "")),
            body=form(*parts), content_type="multipart/form-data; boundary=simple",
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
        self.api(client, world, "RetrieveSkill", "GET", path, lambda at, _: self.model.skill(at, id).as_json())

    @rule(client=clients, world=worlds, pick=picks, other=picks)
    def retrieve_version(self, client: int, world: int, pick: int, other: int) -> None:
        skill = self.some_skill(world, pick)
        number = self.some_version(world, skill, other)
        self.api(
            client, world, "RetrieveSkillVersion", "GET", f"/skills/{skill}/versions/{number}",
            lambda at, _: self.model.version(at, skill, number).as_json(skill),
        )  # fmt: skip

    @rule(client=clients, world=worlds, pick=picks, other=picks, method=st.sampled_from(["GET", "GET", "HEAD"]))
    def download_skill(self, client: int, world: int, pick: int, other: int, method: str) -> None:
        skill = self.some_skill(world, pick)
        number = self.some_version(world, skill, other)

        def default_content(at: str, _: Json) -> bytes:
            found = self.model.skill(at, skill)
            return found.versions[found.default].content

        self.api(client, world, "RetrieveSkillContent", method, f"/skills/{skill}/content", default_content)
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
        found = self._world(self.names[world]).skills.get(skill)
        if other % 2 and found and len(found.versions) > 1:  # otherwise most versions would be the default one
            number = str(max(each for each in found.versions if each != found.default))
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

    # Concurrent requests

    @rule(world=worlds, count=st.integers(2, CLIENTS))
    def create_concurrently(self, world: int, count: int) -> None:
        """Create containers concurrently. A list shows the order in which the server created them."""
        name = self.names[world]
        if name not in self.model.worlds or any(fault.remaining for fault in self.model.worlds[name].faults):
            return
        label = f"burst {self.model.worlds[name].ordinal}"
        body = json.dumps({"name": label}).encode()
        with ThreadPoolExecutor(count) as pool:
            requests = [
                pool.submit(client.request, name, "POST", "/containers", body, {"Content-Type": "application/json"})
                for client in self.server.clients[:count]
            ]
        created = {response["id"]: response for response in (json.loads(each.result()[1]) for each in requests)}
        path = f"/containers?order=asc&limit=100&name={quote(label)}"
        order = [each["id"] for each in json.loads(self.server.clients[0].request(name, "GET", path)[1])["data"]]
        for id in [id for id in order if id in created]:
            assert created.pop(id) == self.model.create_container(name, {"name": label}, id, list)
            self.server.compared["CreateContainer 200"] += 1
        assert not created

    # Time

    @rule(seconds=spans)
    def pass_time(self, seconds: float) -> None:
        self.server.wall.at += seconds
        self.model.wall += seconds

    @rule(world=worlds, at=st.none() | st.integers(-2_000_000, 2_000_000).map(lambda each: NOON + each / 4))
    def freeze(self, world: int, at: float | None) -> None:
        self._change_clock(
            "freeze", world, {} if at is None else {"at": at}, lambda of, wall: (of.at(wall) if at is None else at, 0.0)
        )

    @rule(world=worlds, by=spans)
    def advance(self, world: int, by: float) -> None:
        self._change_clock("advance", world, {"by": by}, lambda of, wall: (of.at(wall) + by, of.rate))

    @rule(world=worlds, by=spans, back=st.booleans())
    def offset(self, world: int, by: float, back: bool) -> None:
        by = -by if back else by
        self._change_clock("offset", world, {"by": by}, lambda _, wall: (wall + by, 1.0))

    @rule(world=worlds, rate=st.sampled_from([0.0, 0.5, 1.0, 60.0]))
    def scale(self, world: int, rate: float) -> None:
        self._change_clock("scale", world, {"rate": rate}, lambda of, wall: (of.at(wall), rate))

    @rule(world=worlds)
    def resume(self, world: int) -> None:
        self._change_clock("resume", world, None, lambda of, wall: (of.at(wall), 1.0))

    @rule(world=worlds)
    def reset_clock(self, world: int) -> None:
        self._change_clock("reset", world, None, lambda _, wall: (wall, 1.0))

    def _change_clock(
        self, action: str, world: int, body: Json | None, change: Callable[[Any, float], tuple[float, float]]
    ) -> None:
        self.control(world, "POST", f"/clock/{action}", body, lambda name: self.model.change_clock(name, change))

    # Worlds

    @rule(world=worlds)
    def retrieve_world(self, world: int) -> None:
        self.control(world, "GET", "", None, self.model.world_state)

    @rule(world=worlds, snapshot=st.sampled_from("xy"))
    def take_snapshot(self, world: int, snapshot: str) -> None:
        self.control(world, "PUT", f"/snapshots/{snapshot}", None, lambda at: self.model.take_snapshot(at, snapshot))

    @rule(world=worlds, snapshot=st.sampled_from("xy"))
    def restore_snapshot(self, world: int, snapshot: str) -> None:
        path = f"/snapshots/{snapshot}/restore"
        self.control(world, "POST", path, None, lambda name: self.model.restore(name, snapshot))

    @rule(world=worlds, of=worlds, snapshot=st.sampled_from([None, None, "x", "y"]), delete_first=st.booleans())
    def fork(self, world: int, of: int, snapshot: str | None, delete_first: bool) -> None:
        if delete_first and world != of:
            self.control(world, "DELETE", "", None, self.model.delete_world)
        body = {"fork_of": self.names[of]} | ({"snapshot": snapshot} if snapshot else {})

        def predict(name: str) -> Json:
            self.model.fork(name, self.names[of], snapshot)
            return self.model.world_state(name)

        self.control(world, "POST", "", body, predict)

    @rule(world=worlds, odds=st.integers(0, 3))
    def reset(self, world: int, odds: int) -> None:
        if odds != 1:
            return

        def predict(name: str) -> Json:
            self.model.reset(name)
            return self.model.world_state(name)

        self.control(world, "POST", "/reset", None, predict)

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

        def predict(name: str) -> Json:
            self.model.get_or_create(name).faults.append(Fault(operation, status, times))
            return {"matched": 0, "fired": 0}

        self.control(world, "POST", "/faults", rule, predict)

    @rule(world=worlds)
    def delete_faults(self, world: int) -> None:
        def predict(name: str) -> Json:
            self.model.get_or_create(name).faults.clear()
            return {"data": []}

        self.control(world, "DELETE", "/faults", None, predict)

    @rule(odds=st.integers(0, 9))
    def restart(self, odds: int) -> None:
        if odds == 1:
            self.server.restart()
            self.server.compared["restart"] += 1

    # End of a run

    def teardown(self) -> None:
        for world, name in enumerate(getattr(self, "names", [])):
            if self.matched:
                self.control(world, "GET", "", None, self.model.world_state)
            if self.matched and name in self.model.worlds:
                self._compare_contents(world, name)
            self.server.clients[0].request(name, "DELETE", f"/_mock/worlds/{name}")
        assert not [*stored(self.server.data), *self.server.data.glob("uploads/*")], "all contents were deleted"

    def _compare_contents(self, world: int, name: str) -> None:
        """Download all contents that the model holds."""
        self.model.worlds[name].faults.clear()
        self.control(world, "DELETE", "/faults", None, lambda _: {"data": []})
        for id, container in list(self.model.worlds[name].containers.items()):
            for file in list(container.files.values()):
                path = f"/containers/{id}/files/{file.id}/content"
                if self.api(0, world, "RetrieveContainerFileContent", "GET", path, self._content(id, file.id)) is None:
                    continue
                response, _ = self.server.clients[0].request(name, "HEAD", path)
                assert response.headers["content-disposition"] == content_disposition(file.path)
        for id in list(self.model.worlds[name].files):
            self.api(1, world, "DownloadFile", "GET", f"/files/{id}/content", self._download(id))  # fmt: skip

    def _download(self, id: str) -> Callable[[str, Json], bytes]:
        return lambda name, _: self.model.download(name, id).content

    def _content(self, container: str, file: str) -> Callable[[str, Json], bytes]:
        return lambda name, _: self.model.container_file(name, container, file).content


@pytest.fixture(scope="module")
def server_under_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerUnderTest]:
    server = ServerUnderTest(tmp_path_factory.mktemp("data"))
    yield server
    server.stop()


def compare(server: ServerUnderTest, runs: int, steps: int) -> Counter[str]:
    """Compare the server with the model in random runs; return the counts of compared responses."""

    class Comparison(ServerAndModel):
        pass

    Comparison.server = server
    before = server.compared.copy()
    run_state_machine_as_test(
        Comparison,
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,  # the counts are the same in every run
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),  # a busy machine and large runs are expected
        ),
    )
    counts = server.compared - before
    print(f"\n{counts.total():,} responses compared, {counts['restart']} restarts: {dict(sorted(counts.items()))}")
    return counts


def test_responses_equal_the_models_predictions(server_under_test: ServerUnderTest) -> None:
    assert compare(server_under_test, runs=2, steps=25).total() > 20


@pytest.mark.slow
def test_responses_equal_the_models_predictions_in_long_runs(server_under_test: ServerUnderTest) -> None:
    counts = compare(server_under_test, runs=400, steps=80)
    assert counts.total() >= tried("responses compared")
    assert counts["restart"] > 10
    assert [each for each in OPERATIONS if counts[f"{each} 200"] < 20] == []
