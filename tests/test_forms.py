"""Upload requests, as the bytes that each client sends.

No client library is used: a new release of one must not change what is tested.
"""

import base64
import email.message
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from conftest import World, new_world
from rawhttp import RawResponse, Wire, form, request

from mockserver.api.multipart import PREAMBLE_BYTES
from mockserver.server.serving import MockServer

CONTENT = b"%PDF-1.7\r\n\x00\xff--\r\n\r\n"
"""A content with line breaks, hyphens and zeros that resemble multipart syntax."""

DOTNET_BOUNDARY = "0=9_Az" * 11 + "=_0Z"
"""A boundary of 70 characters, the maximum. Those of .NET contain `=` and `_`, and are sent quoted."""

DATA_PATHS = re.compile(
    r"lock(-journal)?|clean|uploads|trash(/.*)?|templates|worlds|snapshots|"
    r"(templates/\d+-_|worlds/\d+-[A-Za-z0-9][\w.-]{0,63}|snapshots/\d+-[A-Za-z0-9][\w.-]{0,63}@[A-Za-z0-9][\w.-]{0,63})"
    r"(/world\.db(-wal|-shm)?|/contents(/(?P<folder>[0-9a-f]{2})(/(?P=folder)[0-9a-f]{62})?)?)?",
    re.ASCII,
)
"""The only paths that a data directory has between uploads; what is in `trash/` is being removed."""

# For each client, the name of a file and the part headers that it sends for it.
FILE_HEADERS = {
    "python": (
        "report.pdf",
        'Content-Disposition: form-data; name="file"; filename="report.pdf"\r\nContent-Type: application/pdf',
    ),
    "python-bytes": (
        "upload",
        'Content-Disposition: form-data; name="file"; filename="upload"\r\nContent-Type: application/octet-stream',
    ),
    "python-unicode": (
        "отчёт €.pdf",
        'Content-Disposition: form-data; name="file"; filename="отчёт €.pdf"\r\nContent-Type: application/pdf',
    ),
    "python-quotes": (
        'the "final" \\ report.pdf',
        'Content-Disposition: form-data; name="file"; filename="the %22final%22 \\\\ report.pdf"\r\n'
        "Content-Type: application/pdf",
    ),
    "python-newline": (
        "two\r\nlines.pdf",
        'Content-Disposition: form-data; name="file"; filename="two%0D%0Alines.pdf"\r\nContent-Type: application/pdf',
    ),
    "node": (
        "report.pdf",
        'Content-Disposition: form-data; name="file"; filename="report.pdf"\r\nContent-Type: application/pdf',
    ),
    "node-quotes": (
        'the "final" ü.pdf',
        'Content-Disposition: form-data; name="file"; filename="the %22final%22 ü.pdf"\r\nContent-Type: application/pdf',
    ),
    "go": (
        "report.pdf",
        'Content-Disposition: form-data; name="file"; filename="report.pdf"\r\nContent-Type: application/pdf',
    ),
    "go-reader": (
        "anonymous_file",
        'Content-Disposition: form-data; name="file"; filename="anonymous_file"\r\nContent-Type: application/octet-stream',
    ),
    "go-quotes": (
        'the "final" \\ \\"draft\\" report\\',
        'Content-Disposition: form-data; name="file"; '
        'filename="the \\"final\\" \\\\ \\\\\\"draft\\\\\\" report\\\\"\r\nContent-Type: application/pdf',
    ),
    "java": (
        'the "final" ü.pdf',
        'Content-Disposition: form-data; name="file"; filename="the %22final%22 ü.pdf"\r\n'
        "Content-Type: application/octet-stream",
    ),
    "java-stream": (
        "upload",
        'Content-Disposition: form-data; name="file"\r\nContent-Type: application/octet-stream',
    ),
    "dotnet": (
        "report.pdf",
        "Content-Disposition: form-data; name=file; filename=report.pdf; filename*=utf-8''report.pdf",
    ),
    "dotnet-typed": (
        "report.pdf",
        "Content-Type: application/pdf\r\n"
        "Content-Disposition: form-data; name=file; filename=report.pdf; filename*=utf-8''report.pdf",
    ),
    "dotnet-space": (
        "my report.pdf",
        "Content-Disposition: form-data; name=file; filename=\"my report.pdf\"; filename*=utf-8''my%20report.pdf",
    ),
    "dotnet-unicode": (
        "отчёт €.pdf",
        'Content-Disposition: form-data; name=file; filename="=?utf-8?B?'
        + base64.b64encode("отчёт €.pdf".encode()).decode()
        + "?=\"; filename*=utf-8''"
        + quote("отчёт €.pdf"),
    ),
    "dotnet-long": (
        "長" * 251 + ".pdf",
        'Content-Disposition: form-data; name=file; filename="=?utf-8?B?'
        + base64.b64encode(("長" * 251 + ".pdf").encode()).decode()
        + "?=\"; filename*=utf-8''"
        + quote("長" * 251 + ".pdf"),
    ),
    "ruby": (
        "report.pdf",
        'Content-Disposition: form-data; name="file"; filename="report.pdf"\r\nContent-Type: application/octet-stream',
    ),
    "semicolons": (
        "a; name=b; filename=c.pdf",
        'Content-Disposition: form-data; name="file"; filename="a; name=b; filename=c.pdf"',
    ),
    "curl": (
        "отчёт.pdf",
        'Content-Disposition: form-data; name="file"; filename="отчёт.pdf"\r\nContent-Type: application/pdf',
    ),
    "lower-case-headers": (
        "report.pdf",
        'content-type: application/pdf\r\ncontent-disposition: form-data; name="file"; filename="report.pdf"',
    ),
    "extra-headers": (
        "report.pdf",
        'Content-Length: 18\r\nContent-Disposition: form-data; filename="report.pdf"; name="file"\r\n'
        "Content-Transfer-Encoding: binary\r\nX-Part: 1",
    ),
}

BOUNDARIES = {
    "python": "e13aa257fda35dd31a08712a5ebcbc4c",
    "node": "----formdata-undici-052777392039",
    "node-stream": "openai-7x7ah4j8e2e",
    "go": "5f1b0a7ea1d6d1f5c7c8bb6ac4e2e4ce7f6d0ab6ba2d8b1a7a8ac39b2b5e",
    "java": "0f5a1b8e-2f8e-4d3b-9c52-0c8a1d8e0b7f",
    "ruby": "rJ_Zr-gkE2v0sO6m5kHt3V9kD8uKxqXw0b1c2D3e4F5g6H7i8J9k0_-aBcDeFg",
    "curl": "------------------------d74496d66958873e",
}

FILE_ID = 'Content-Disposition: form-data; name="file_id"'
PURPOSE = ('Content-Disposition: form-data; name="purpose"', b"vision")

# For each client, the content type, boundary and body of a request that copies a File.
COPY_REQUESTS = {
    "python": ("application/json", None, '{"file_id":"%s"}'),
    "ruby": ("application/json", None, '{"file_id": "%s"}'),
    "node": ("application/json; charset=utf-8", None, '{\n  "file_id": "%s"\n}'),
    "node-before-6.22": ("multipart/form-data; boundary=" + BOUNDARIES["node"], BOUNDARIES["node"], FILE_ID),
    "go": ("multipart/form-data; boundary=" + BOUNDARIES["go"], BOUNDARIES["go"], FILE_ID),
    "java": (
        "multipart/form-data; boundary=" + BOUNDARIES["java"],
        BOUNDARIES["java"],
        FILE_ID + "\r\nContent-Type: text/plain; charset=utf-8",
    ),
    "dotnet": (
        f'multipart/form-data; boundary="{DOTNET_BOUNDARY}"',
        DOTNET_BOUNDARY,
        "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=file_id",
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def server_with_data(root: Path) -> Iterator[MockServer]:
    """A server whose data directory is alone in another one, so that files outside of it would be found."""
    with MockServer(data=root / "in" / "data") as running:
        yield running


@pytest.fixture
def world(server_with_data: MockServer) -> World:
    return new_world(server_with_data)


@pytest.fixture
def files_path(world: World) -> str:
    """The path of the files of a new container."""
    container = request(world, "POST", "/containers", {"Content-Type": "application/json"}, b'{"name": "box"}')
    return f"/containers/{container.json['id']}/files"


def post_form(world: World, path: str, *parts: tuple[str, bytes], boundary: str = "simple") -> RawResponse:
    body = form(*parts, boundary=boundary)
    return request(world, "POST", path, {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}, body)


def file_name(response: RawResponse) -> str:
    """Return the file name in the path of a container file, without the directory and the digest."""
    assert response.status == 200, response.body
    match = re.fullmatch(r"/mnt/data/[0-9a-f]{32}-(.*)", response.json["path"], re.DOTALL)
    assert match
    return match[1]


def download(world: World, path: str) -> RawResponse:
    response = request(world, "GET", f"{path}/content")
    assert response.status == 200
    return response


def extended_name(response: RawResponse) -> str:
    """Return the decoded `filename*` (RFC 5987)."""
    match = re.search(r"filename\*=UTF-8''([^;\s]+)$", response.headers["content-disposition"])
    assert match, response.headers["content-disposition"]
    return unquote(match[1], errors="strict")


# Uploads


@pytest.mark.parametrize("client", FILE_HEADERS)
@pytest.mark.parametrize("boundary", [*BOUNDARIES.values(), DOTNET_BOUNDARY], ids=[*BOUNDARIES, "dotnet"])
def test_an_upload_of_each_client_is_stored(world: World, files_path: str, client: str, boundary: str) -> None:
    name, head = FILE_HEADERS[client]
    response = post_form(world, files_path, (head, CONTENT), boundary=boundary)
    assert file_name(response) == name
    assert response.json["bytes"] == len(CONTENT)
    assert download(world, f"{files_path}/{response.json['id']}").body == CONTENT


@pytest.mark.parametrize("boundary", BOUNDARIES.values(), ids=BOUNDARIES)
def test_an_upload_with_an_unquoted_boundary_is_stored(world: World, files_path: str, boundary: str) -> None:
    body = form((FILE_HEADERS["python"][1], CONTENT), boundary=boundary)
    response = request(world, "POST", files_path, {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body)
    assert file_name(response) == "report.pdf"


@pytest.mark.parametrize("client", FILE_HEADERS)
def test_an_upload_of_each_client_to_the_files_api_is_stored(world: World, client: str) -> None:
    name, head = FILE_HEADERS[client]
    for parts in ([(head, CONTENT), PURPOSE], [PURPOSE, (head, CONTENT)]):
        response = post_form(world, "/files", *parts)
        assert response.status == 200
        assert response.json["filename"] == name
        assert response.json["bytes"] == len(CONTENT)


def test_expiry_fields_are_accepted_before_and_after_the_file(world: World) -> None:
    fields = [
        ('Content-Disposition: form-data; name="expires_after[anchor]"', b"created_at"),
        ('Content-Disposition: form-data; name="expires_after[seconds]"', b"3600"),
        PURPOSE,
    ]
    file = (FILE_HEADERS["python"][1], CONTENT)
    for parts in ([*fields, file], [file, *fields]):
        response = post_form(world, "/files", *parts)
        assert response.status == 200
        assert response.json["expires_at"] == response.json["created_at"] + 3_600


def test_an_empty_file_is_stored(world: World, files_path: str) -> None:
    response = post_form(world, files_path, (FILE_HEADERS["python"][1], b""))
    assert file_name(response) == "report.pdf"
    assert response.json["bytes"] == 0
    assert download(world, f"{files_path}/{response.json['id']}").body == b""


# Copies of Files


@pytest.mark.parametrize("client", COPY_REQUESTS)
def test_a_copy_request_of_each_client_copies_the_file(world: World, files_path: str, client: str) -> None:
    file = ('Content-Disposition: form-data; name="file"; filename="data.csv"', CONTENT)
    file_id = post_form(world, "/files", file, PURPOSE).json["id"]
    content_type, boundary, template = COPY_REQUESTS[client]
    body = form((template, file_id.encode()), boundary=boundary) if boundary else (template % file_id).encode()
    response = request(world, "POST", files_path, {"Content-Type": content_type}, body)
    assert response.status == 200, response.body
    assert response.json["path"] == f"/mnt/data/{file_id}-data.csv"
    assert download(world, f"{files_path}/{response.json['id']}").body == CONTENT


def test_a_request_with_neither_file_nor_file_id_returns_400(world: World, files_path: str) -> None:
    """The Python SDK sends this if it gets neither a file nor an id."""
    response = request(world, "POST", files_path, {"Content-Type": "application/json"}, b"{}")
    assert response.status == 400
    assert response.error["type"] == "invalid_request_error"
    assert response.error["code"] == "missing_mutually_exclusive_parameters"


# Transport


def test_a_chunked_upload_is_stored(world: World, files_path: str) -> None:
    """Ruby and Node stream a form without its length."""
    body = form((FILE_HEADERS["node"][1], CONTENT * 1_000), boundary=BOUNDARIES["ruby"])
    with Wire(world) as wire:
        content_type = f"multipart/form-data; boundary={BOUNDARIES['ruby']}"
        wire.head("POST", files_path, {"Content-Type": content_type, "Transfer-Encoding": "chunked"})
        for start in range(0, len(body), 1_000):
            chunk = body[start : start + 1_000]
            wire.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        wire.send(b"0\r\n\r\n")
        response = wire.response()
    assert file_name(response) == "report.pdf"
    assert download(world, f"{files_path}/{response.json['id']}").body == CONTENT * 1_000


def test_an_upload_in_chunks_of_one_byte_is_stored(world: World, files_path: str) -> None:
    body = form((FILE_HEADERS["python-quotes"][1], CONTENT))
    with Wire(world) as wire:
        content_type = "multipart/form-data; boundary=simple"
        wire.head("POST", files_path, {"Content-Type": content_type, "Transfer-Encoding": "chunked"})
        for byte in body:
            wire.send(b"1\r\n%c\r\n" % byte)
        wire.send(b"0\r\n\r\n")
        response = wire.response()
    assert file_name(response) == 'the "final" \\ report.pdf'
    assert download(world, f"{files_path}/{response.json['id']}").body == CONTENT


def test_an_upload_can_be_split_at_any_byte(world: World, files_path: str) -> None:
    """A packet can end within a boundary, a header, an escape or a character."""
    body = form((FILE_HEADERS["python-unicode"][1], CONTENT))
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Content-Length": str(len(body))}
    for position in range(1, len(body)):
        with Wire(world) as wire:
            wire.head("POST", files_path, {**headers, "Expect": "100-continue"})
            # The server sends 100 Continue when it reads the body, so it reads the first part alone.
            wire.send(body[:position])
            assert wire.socket.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
            wire.send(body[position:])
            response = wire.response()
        assert file_name(response) == "отчёт €.pdf"
        assert response.json["bytes"] == len(CONTENT)


def test_an_upload_with_expect_gets_100_continue(world: World, files_path: str) -> None:
    body = form((FILE_HEADERS["curl"][1], CONTENT))
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Content-Length": str(len(body))}
    with Wire(world) as wire:
        wire.head("POST", files_path, {**headers, "Expect": "100-continue"})
        assert wire.socket.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(body)
        assert file_name(wire.response()) == "отчёт.pdf"


def test_a_rejected_upload_with_expect_gets_no_100_continue(world: World) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Content-Length": "1000"}
    with Wire(world) as wire:
        wire.head("POST", "/containers/cntr_unknown/files", {**headers, "Expect": "100-continue"})
        assert wire.socket.recv(1_000).startswith(b"HTTP/1.1 404 ")


def test_the_preamble_and_epilogue_of_a_form_are_ignored(world: World, files_path: str) -> None:
    body = b"\r\n" + form((FILE_HEADERS["python"][1], CONTENT)) + b"\r\nThat was all.\r\n"
    response = request(world, "POST", files_path, {"Content-Type": "multipart/form-data; boundary=simple"}, body)
    assert file_name(response) == "report.pdf"
    assert response.json["bytes"] == len(CONTENT)


PREAMBLES = (
    b"This is a multi-part message in MIME format.\r\n",
    b"--simpl\r\n --simple\r\n\r\n",
    b"\n" * 3,
    b"x" * (PREAMBLE_BYTES - 10) + b"\r\n",
)


@pytest.mark.parametrize("preamble", PREAMBLES)
def test_unusual_preambles_are_ignored(world: World, files_path: str, preamble: bytes) -> None:
    body = preamble + form((FILE_HEADERS["python"][1], CONTENT))
    response = request(world, "POST", files_path, {"Content-Type": "multipart/form-data; boundary=simple"}, body)
    assert file_name(response) == "report.pdf"
    assert response.json["bytes"] == len(CONTENT)


def test_a_preamble_in_chunks_of_one_byte_is_ignored(world: World, files_path: str) -> None:
    body = PREAMBLES[0] + form((FILE_HEADERS["python"][1], CONTENT))
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Transfer-Encoding": "chunked"}
    with Wire(world) as wire:
        wire.head("POST", files_path, headers)
        wire.send(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        response = wire.response()
    assert file_name(response) == "report.pdf"
    assert response.json["bytes"] == len(CONTENT)


@pytest.mark.parametrize("preamble", [b"x" * (PREAMBLE_BYTES - 9) + b"\r\n", b"no line of its own ", b"\x00"])
def test_a_preamble_without_end_returns_400(world: World, files_path: str, preamble: bytes) -> None:
    body = preamble + form((FILE_HEADERS["python"][1], CONTENT))
    response = request(world, "POST", files_path, {"Content-Type": "multipart/form-data; boundary=simple"}, body)
    assert response.status == 400, response.body


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n\r\n", b"\n"])
def test_a_form_can_end_with_or_without_line_breaks(world: World, files_path: str, end: bytes) -> None:
    body = form((FILE_HEADERS["python"][1], CONTENT)).removesuffix(b"\r\n") + end
    response = request(world, "POST", files_path, {"Content-Type": "multipart/form-data; boundary=simple"}, body)
    assert file_name(response) == "report.pdf"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", form((FILE_HEADERS["python"][1], CONTENT))),
        ("multipart/form-data; boundary=other", form((FILE_HEADERS["python"][1], CONTENT))),
        ("multipart/form-data; boundary=simple", form((FILE_HEADERS["python"][1], CONTENT))[:-12]),
        ("multipart/form-data; boundary=simple", form(("Content-Type: application/pdf", CONTENT))),
        (
            "multipart/form-data; boundary=simple",
            form((FILE_HEADERS["python"][1], CONTENT), (FILE_HEADERS["python"][1], CONTENT)),
        ),
        ("multipart/form-data; boundary=simple", form((FILE_ID, b"file-1"), (FILE_HEADERS["python"][1], CONTENT))),
        ("multipart/form-data; boundary=simple", b""),
        ("multipart/form-data; boundary=simple", b"--simple--\r\n"),
        ("multipart/form-data; boundary=simple", b"\x00" * 5_000),
        ("application/json", b'{"file_id": 1}'),
        ("application/json", b'{"file_id": "\\ud800"}'),
        ("application/json", b"nonsense"),
        ("application/json", b"[]"),
        ("image/svg+xml", b"<svg/>"),
        ("", b"<svg/>"),
    ],
)
def test_an_invalid_form_returns_400_and_stores_nothing(
    world: World, files_path: str, root: Path, content_type: str, body: bytes
) -> None:
    before = paths_under(root)
    headers = {"Content-Type": content_type} if content_type else {}
    response = request(world, "POST", files_path, {**headers, "Content-Length": str(len(body))}, body)
    assert response.status == 400
    assert list(response.json) == ["error"]
    assert list(response.error) == ["message", "type", "param", "code"]
    assert paths_under(root) == before
    assert request(world, "GET", files_path).json["data"] == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("body", [b"{}", b'{"file_id": "x"}', b"null", b"nonsense"])
def test_bodies_of_get_and_delete_requests_are_ignored(world: World, files_path: str, method: str, body: bytes) -> None:
    uploaded = post_form(world, files_path, (FILE_HEADERS["python"][1], CONTENT)).json
    container = files_path.removesuffix("/files")
    headers = {"Content-Type": "application/json"}
    for path in (f"{files_path}/{uploaded['id']}", container):
        response = request(world, method, path, headers, body)
        assert response.status == 200
        assert response.json["id"] == path.rpartition("/")[2]


# File names


NAMES: dict[str, str | None] = dict.fromkeys(
    [
        "plain.txt",
        "no extension",
        ".hidden",
        "日本語のファイル.txt",
        "é \u200d 🧑\u200d💻.txt",
        "right\u202eto-left.txt",
        "\"quoted\" & 'quoted'.txt",
        "semi; colon=1; filename=other.txt",
        "percent %41 %zz.txt",
        "back\\slash.txt",
        "two\nlines\r\nand more.txt",
        "tab\tand\x01control.txt",
        ".",
        "..",
        "nul\x00byte.txt",
        "n" * 300 + ".txt",
        "ü" * 300,
        "CON",
        " ",
    ]
) | {
    "../escape.txt": "escape.txt",
    "../../../../escape.txt": "escape.txt",
    "/etc/escape.txt": "escape.txt",
    "a/b/c.txt": "c.txt",
    "C:\\x\\escape.txt": "escape.txt",
    "C:/x/escape.txt": "escape.txt",
    "..\\..\\escape.txt": "escape.txt",
    "\\\\host\\share\\escape.txt": "escape.txt",
    "a/..": "..",
}
"""File names and, for those with directories, the names that are stored."""


def paths_under(root: Path) -> set[str]:
    """Return all paths under the parent of the data directory, without the logs of open databases."""
    paths = {path.relative_to(root).as_posix() for path in root.rglob("*")}
    return {path for path in paths if not path.endswith(("-wal", "-shm"))}


@pytest.mark.parametrize(("sent", "stored_name"), NAMES.items(), ids=repr)
@pytest.mark.parametrize("route", ["container", "files"])
def test_file_names_are_returned_and_never_used_as_paths(
    world: World, files_path: str, root: Path, route: str, sent: str, stored_name: str | None
) -> None:
    name = sent if stored_name is None else stored_name
    # RFC 5987 is the only encoding of names that all clients that support it share.
    head = f"Content-Disposition: form-data; name=file; filename*=utf-8''{quote(sent, safe='')}"
    if route == "container":
        response = post_form(world, files_path, (head, name.encode()))
        assert file_name(response) == name
        assert request(world, "GET", f"{files_path}/{response.json['id']}").json["path"].endswith(f"-{name}")
        content = download(world, f"{files_path}/{response.json['id']}")
        assert extended_name(content) == response.json["path"].rpartition("/")[2]
        assert re.match(r'attachment; filename="file(\.[A-Za-z0-9]+)?"; filename\*=', disposition(content))
    else:
        response = post_form(world, "/files", (head, name.encode()), PURPOSE)
        assert response.json["filename"] == name
        assert request(world, "GET", f"/files/{response.json['id']}").json["filename"] == name
        content = download(world, f"/files/{response.json['id']}")
        header = email.message.Message()
        header["Content-Disposition"] = disposition(content)
        assert header.get_content_disposition() == "attachment"
        assert header.get_filename() or not name.strip()
        if "filename*" in disposition(content):
            assert extended_name(content) == name
        else:
            assert disposition(content) == f'attachment; filename="{name.rpartition("/")[2]}"'
    assert content.body == name.encode()
    paths = paths_under(root)
    inside = {path for path in paths if path.startswith("in/data/")}
    assert paths - inside == {"in", "in/data"}
    assert [path for path in inside if not DATA_PATHS.fullmatch(path.removeprefix("in/data/"))] == []


def disposition(response: RawResponse) -> str:
    """Return the Content-Disposition header, which must be one line of printable ASCII."""
    (header,) = response.headers.get_all("content-disposition")
    assert header.isascii()
    assert header.isprintable()
    return header


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="file"; filename="latin-1 \xe9.txt"',
        b"Content-Disposition: form-data; name=file; filename*=utf-8''%E9%FF.txt",
        b"Content-Disposition: form-data; name=file; filename*=utf-8''%ED%A0%80.txt",
        b'Content-Disposition: form-data; name="file"; filename="zero \x00.txt"',
        b'Content-Disposition: form-data; name="file"; filename="unclosed.txt',
        b'Content-Disposition: form-data; name="file"; filename=""',
        b"Content-Disposition: form-data; name=file; filename*=latin-1''x.txt; filename=y.txt",
        b"Content-Disposition: form-data; name=file; filename*=nonsense",
        b"Content-Disposition: form-data; name=file; filename*=utf-8''; filename=y.txt",
    ],
)
def test_a_malformed_file_name_returns_400_or_stores_the_file(world: World, files_path: str, head: bytes) -> None:
    body = b"--simple\r\n" + head + b"\r\n\r\nbytes\r\n--simple--\r\n"
    response = request(world, "POST", files_path, {"Content-Type": "multipart/form-data; boundary=simple"}, body)
    assert response.status in (200, 400)
    if response.status == 200:
        assert download(world, f"{files_path}/{response.json['id']}").body == b"bytes"
        assert [file["path"] for file in request(world, "GET", files_path).json["data"]] == [response.json["path"]]
