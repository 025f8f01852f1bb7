"""The add-file request as each client puts it on the wire, written down as the bytes that it sends.

No client library here: what one of them changes in its next release must not change what is tested.
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

PDF = b"%PDF-1.7\r\n\x00\xff--\r\n\r\n"
"""Bytes in which line ends, hyphens and zeros look like multipart but aren't."""

NET = "0=9_Az" * 11 + "=_0Z"
"""70 characters, the longest boundary; .NET's holds `=` and `_` and so comes quoted."""

TREE = re.compile(
    r"lock(-journal)?|clean|uploads|trash(/.*)?|templates|worlds|snapshots|"
    r"(templates/\d+-_|worlds/\d+-[A-Za-z0-9][\w.-]{0,63}|snapshots/\d+-[A-Za-z0-9][\w.-]{0,63}@[A-Za-z0-9][\w.-]{0,63})"
    r"(/world\.db(-wal|-shm)?|/contents(/(?P<folder>[0-9a-f]{2})(/(?P=folder)[0-9a-f]{62})?)?)?",
    re.ASCII,
)
"""All that may ever lie in a data directory between uploads; what is in `trash/` is being removed."""

# What each client sends ahead of a file's bytes, and the name that it means by it.
FILES = {
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

# Requests that name a File to copy.
COPIES = {
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
        f'multipart/form-data; boundary="{NET}"',
        NET,
        "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=file_id",
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def keeping_server(root: Path) -> Iterator[MockServer]:
    """A server whose data directory lies alone in another, so that strays would show."""
    with MockServer(data=root / "in" / "data") as running:
        yield running


@pytest.fixture
def world(keeping_server: MockServer) -> World:
    return new_world(keeping_server)


@pytest.fixture
def files(world: World) -> str:
    """The path of a new container's files."""
    container = request(world, "POST", "/containers", {"Content-Type": "application/json"}, b'{"name": "box"}')
    return f"/containers/{container.json['id']}/files"


def post_form(world: World, path: str, *parts: tuple[str, bytes], boundary: str = "simple") -> RawResponse:
    body = form(*parts, boundary=boundary)
    return request(world, "POST", path, {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}, body)


def named(answer: RawResponse) -> str:
    """The file name in a container file's path, without the directory and the hash."""
    assert answer.status == 200, answer.body
    match = re.fullmatch(r"/mnt/data/[0-9a-f]{32}-(.*)", answer.json["path"], re.DOTALL)
    assert match
    return match[1]


def downloaded(world: World, path: str) -> RawResponse:
    answer = request(world, "GET", f"{path}/content")
    assert answer.status == 200
    return answer


def extended_name(answer: RawResponse) -> str:
    """What `filename*` says, as RFC 5987 has it decoded."""
    match = re.search(r"filename\*=UTF-8''([^;\s]+)$", answer.headers["content-disposition"])
    assert match, answer.headers["content-disposition"]
    return unquote(match[1], errors="strict")


# Files with their bytes


@pytest.mark.parametrize("client", FILES)
@pytest.mark.parametrize("boundary", [*BOUNDARIES.values(), NET], ids=[*BOUNDARIES, "dotnet"])
def test_upload(world: World, files: str, client: str, boundary: str) -> None:
    name, head = FILES[client]
    answer = post_form(world, files, (head, PDF), boundary=boundary)
    assert named(answer) == name
    assert answer.json["bytes"] == len(PDF)
    assert downloaded(world, f"{files}/{answer.json['id']}").body == PDF


@pytest.mark.parametrize("boundary", BOUNDARIES.values(), ids=BOUNDARIES)
def test_upload_with_a_bare_boundary(world: World, files: str, boundary: str) -> None:
    body = form((FILES["python"][1], PDF), boundary=boundary)
    answer = request(world, "POST", files, {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body)
    assert named(answer) == "report.pdf"


@pytest.mark.parametrize("client", FILES)
def test_upload_to_the_files_api(world: World, client: str) -> None:
    name, head = FILES[client]
    for parts in ([(head, PDF), PURPOSE], [PURPOSE, (head, PDF)]):
        answer = post_form(world, "/files", *parts)
        assert answer.status == 200
        assert answer.json["filename"] == name
        assert answer.json["bytes"] == len(PDF)


def test_a_files_expiry_before_and_after_it(world: World) -> None:
    fields = [
        ('Content-Disposition: form-data; name="expires_after[anchor]"', b"created_at"),
        ('Content-Disposition: form-data; name="expires_after[seconds]"', b"3600"),
        PURPOSE,
    ]
    file = (FILES["python"][1], PDF)
    for parts in ([*fields, file], [file, *fields]):
        answer = post_form(world, "/files", *parts)
        assert answer.status == 200
        assert answer.json["expires_at"] == answer.json["created_at"] + 3_600


def test_an_empty_file(world: World, files: str) -> None:
    answer = post_form(world, files, (FILES["python"][1], b""))
    assert named(answer) == "report.pdf"
    assert answer.json["bytes"] == 0
    assert downloaded(world, f"{files}/{answer.json['id']}").body == b""


# Copies of Files


@pytest.mark.parametrize("client", COPIES)
def test_copy(world: World, files: str, client: str) -> None:
    file = ('Content-Disposition: form-data; name="file"; filename="data.csv"', PDF)
    file_id = post_form(world, "/files", file, PURPOSE).json["id"]
    content_type, boundary, text = COPIES[client]
    body = form((text, file_id.encode()), boundary=boundary) if boundary else (text % file_id).encode()
    answer = request(world, "POST", files, {"Content-Type": content_type}, body)
    assert answer.status == 200, answer.body
    assert answer.json["path"] == f"/mnt/data/{file_id}-data.csv"
    assert downloaded(world, f"{files}/{answer.json['id']}").body == PDF


def test_nothing_to_add(world: World, files: str) -> None:
    """Python sends this when it is given neither a file nor an id."""
    answer = request(world, "POST", files, {"Content-Type": "application/json"}, b"{}")
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["code"] == "missing_mutually_exclusive_parameters"


# Transport


def test_chunks(world: World, files: str) -> None:
    """Ruby and Node stream a form without telling its length."""
    body = form((FILES["node"][1], PDF * 1_000), boundary=BOUNDARIES["ruby"])
    with Wire(world) as wire:
        content_type = f"multipart/form-data; boundary={BOUNDARIES['ruby']}"
        wire.head("POST", files, {"Content-Type": content_type, "Transfer-Encoding": "chunked"})
        for start in range(0, len(body), 1_000):
            chunk = body[start : start + 1_000]
            wire.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        wire.send(b"0\r\n\r\n")
        answer = wire.response()
    assert named(answer) == "report.pdf"
    assert downloaded(world, f"{files}/{answer.json['id']}").body == PDF * 1_000


def test_a_byte_at_a_time(world: World, files: str) -> None:
    body = form((FILES["python-quotes"][1], PDF))
    with Wire(world) as wire:
        content_type = "multipart/form-data; boundary=simple"
        wire.head("POST", files, {"Content-Type": content_type, "Transfer-Encoding": "chunked"})
        for byte in body:
            wire.send(b"1\r\n%c\r\n" % byte)
        wire.send(b"0\r\n\r\n")
        answer = wire.response()
    assert named(answer) == 'the "final" \\ report.pdf'
    assert downloaded(world, f"{files}/{answer.json['id']}").body == PDF


def test_cut_at_every_place(world: World, files: str) -> None:
    """Wherever a packet ends: in a boundary, a header, an escape, a character."""
    body = form((FILES["python-unicode"][1], PDF))
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Content-Length": str(len(body))}
    for cut in range(1, len(body)):
        with Wire(world) as wire:
            wire.head("POST", files, {**headers, "Expect": "100-continue"})
            # The server asks for the body when it reads it, so the first part is read by itself.
            wire.send(body[:cut])
            assert wire.socket.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
            wire.send(body[cut:])
            answer = wire.response()
        assert named(answer) == "отчёт €.pdf"
        assert answer.json["bytes"] == len(PDF)


def test_expect_continue(world: World, files: str) -> None:
    body = form((FILES["curl"][1], PDF))
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Content-Length": str(len(body))}
    with Wire(world) as wire:
        wire.head("POST", files, {**headers, "Expect": "100-continue"})
        assert wire.socket.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(body)
        assert named(wire.response()) == "отчёт.pdf"


def test_expect_continue_and_be_refused(world: World) -> None:
    """The refusal comes instead of the invitation to send."""
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Content-Length": "1000"}
    with Wire(world) as wire:
        wire.head("POST", "/containers/cntr_unknown/files", {**headers, "Expect": "100-continue"})
        assert wire.socket.recv(1_000).startswith(b"HTTP/1.1 404 ")


def test_preamble_and_epilogue(world: World, files: str) -> None:
    body = b"\r\n" + form((FILES["python"][1], PDF)) + b"\r\nThat was all.\r\n"
    answer = request(world, "POST", files, {"Content-Type": "multipart/form-data; boundary=simple"}, body)
    assert named(answer) == "report.pdf"
    assert answer.json["bytes"] == len(PDF)


PREAMBLES = (
    b"This is a multi-part message in MIME format.\r\n",
    b"--simpl\r\n --simple\r\n\r\n",
    b"\n" * 3,
    b"x" * (PREAMBLE_BYTES - 10) + b"\r\n",
)


@pytest.mark.parametrize("preamble", PREAMBLES)
def test_a_preamble_means_nothing(world: World, files: str, preamble: bytes) -> None:
    body = preamble + form((FILES["python"][1], PDF))
    answer = request(world, "POST", files, {"Content-Type": "multipart/form-data; boundary=simple"}, body)
    assert named(answer) == "report.pdf"
    assert answer.json["bytes"] == len(PDF)


def test_a_preamble_in_single_bytes(world: World, files: str) -> None:
    body = PREAMBLES[0] + form((FILES["python"][1], PDF))
    headers = {"Content-Type": "multipart/form-data; boundary=simple", "Transfer-Encoding": "chunked"}
    with Wire(world) as wire:
        wire.head("POST", files, headers)
        wire.send(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        answer = wire.response()
    assert named(answer) == "report.pdf"
    assert answer.json["bytes"] == len(PDF)


@pytest.mark.parametrize("preamble", [b"x" * (PREAMBLE_BYTES - 9) + b"\r\n", b"no line of its own ", b"\x00"])
def test_a_preamble_that_has_no_end_is_refused(world: World, files: str, preamble: bytes) -> None:
    body = preamble + form((FILES["python"][1], PDF))
    answer = request(world, "POST", files, {"Content-Type": "multipart/form-data; boundary=simple"}, body)
    assert answer.status == 400, answer.body


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n\r\n", b"\n"])
def test_ends_of_a_form(world: World, files: str, end: bytes) -> None:
    body = form((FILES["python"][1], PDF)).removesuffix(b"\r\n") + end
    answer = request(world, "POST", files, {"Content-Type": "multipart/form-data; boundary=simple"}, body)
    assert named(answer) == "report.pdf"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", form((FILES["python"][1], PDF))),
        ("multipart/form-data; boundary=other", form((FILES["python"][1], PDF))),
        ("multipart/form-data; boundary=simple", form((FILES["python"][1], PDF))[:-12]),
        ("multipart/form-data; boundary=simple", form(("Content-Type: application/pdf", PDF))),
        ("multipart/form-data; boundary=simple", form((FILES["python"][1], PDF), (FILES["python"][1], PDF))),
        ("multipart/form-data; boundary=simple", form((FILE_ID, b"file-1"), (FILES["python"][1], PDF))),
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
def test_what_is_no_form_is_refused_and_leaves_nothing(
    world: World, files: str, root: Path, content_type: str, body: bytes
) -> None:
    before = tree(root)
    headers = {"Content-Type": content_type} if content_type else {}
    answer = request(world, "POST", files, {**headers, "Content-Length": str(len(body))}, body)
    assert answer.status == 400
    assert list(answer.json) == ["error"]
    assert list(answer.error) == ["message", "type", "param", "code"]
    assert tree(root) == before
    assert request(world, "GET", files).json["data"] == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("body", [b"{}", b'{"file_id": "x"}', b"null", b"nonsense"])
def test_a_body_where_none_belongs_is_ignored(world: World, files: str, method: str, body: bytes) -> None:
    uploaded = post_form(world, files, (FILES["python"][1], PDF)).json
    container = files.removesuffix("/files")
    headers = {"Content-Type": "application/json"}
    for path in (f"{files}/{uploaded['id']}", container):
        answer = request(world, method, path, headers, body)
        assert answer.status == 200
        assert answer.json["id"] == path.rpartition("/")[2]


# Names are data


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
"""Names as they are sent, and what is left of those that have directories."""


def tree(root: Path) -> set[str]:
    """Return the paths under the directory that has only the data directory, without the logs of open databases."""
    paths = {path.relative_to(root).as_posix() for path in root.rglob("*")}
    return {path for path in paths if not path.endswith(("-wal", "-shm"))}


@pytest.mark.parametrize(("sent", "left"), NAMES.items(), ids=repr)
@pytest.mark.parametrize("route", ["container", "files"])
def test_a_name_comes_back_and_never_reaches_the_file_system(
    world: World, files: str, root: Path, route: str, sent: str, left: str | None
) -> None:
    name = sent if left is None else left
    # The one way to write a name that is the same in every client that has it: RFC 5987.
    head = f"Content-Disposition: form-data; name=file; filename*=utf-8''{quote(sent, safe='')}"
    if route == "container":
        answer = post_form(world, files, (head, name.encode()))
        assert named(answer) == name
        assert request(world, "GET", f"{files}/{answer.json['id']}").json["path"].endswith(f"-{name}")
        content = downloaded(world, f"{files}/{answer.json['id']}")
        assert extended_name(content) == answer.json["path"].rpartition("/")[2]
        assert re.match(r'attachment; filename="file(\.[A-Za-z0-9]+)?"; filename\*=', disposition(content))
    else:
        answer = post_form(world, "/files", (head, name.encode()), PURPOSE)
        assert answer.json["filename"] == name
        assert request(world, "GET", f"/files/{answer.json['id']}").json["filename"] == name
        content = downloaded(world, f"/files/{answer.json['id']}")
        shown = email.message.Message()
        shown["Content-Disposition"] = disposition(content)
        assert shown.get_content_disposition() == "attachment"
        assert shown.get_filename() or not name.strip()
        if "filename*" in disposition(content):
            assert extended_name(content) == name
        else:
            assert disposition(content) == f'attachment; filename="{name.rpartition("/")[2]}"'
    assert content.body == name.encode()
    paths = tree(root)
    inside = {path for path in paths if path.startswith("in/data/")}
    assert paths - inside == {"in", "in/data"}
    assert [path for path in inside if not TREE.fullmatch(path.removeprefix("in/data/"))] == []


def disposition(answer: RawResponse) -> str:
    """The header, which must be one line of plain ASCII whatever the name."""
    (header,) = answer.headers.get_all("content-disposition")
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
def test_a_name_in_no_known_form_harms_nothing(world: World, files: str, head: bytes) -> None:
    body = b"--simple\r\n" + head + b"\r\n\r\nbytes\r\n--simple--\r\n"
    answer = request(world, "POST", files, {"Content-Type": "multipart/form-data; boundary=simple"}, body)
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert downloaded(world, f"{files}/{answer.json['id']}").body == b"bytes"
        assert [file["path"] for file in request(world, "GET", files).json["data"]] == [answer.json["path"]]
