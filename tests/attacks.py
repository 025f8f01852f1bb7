"""Hostile requests by kind of attack; `test_fuzz.py` sends them."""

import base64
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from skill_bundles import MANIFEST, zipped

from mockserver.schema.responses import CreateResponse
from mockserver.transcript import PREFIXES

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Attempt:
    """The bytes that are sent on one connection."""

    data: bytes
    complete: bool = True
    """Whether the bytes are a request, or can't become one, so that the server must respond. If not, the client closes
    its side of the connection after them."""
    piece_size: int = 0
    """The number of bytes to send at a time; 0 sends all at once."""


@dataclass(frozen=True)
class Existing:
    """The ids of objects that exist in the world that is attacked."""

    world: str
    container: str
    container_file: str
    file: str
    upload: str
    skill: str
    response: str


def request(
    existing: Existing, method: str, path: str, *headers: bytes, body: bytes | None = None, base: str | None = None
) -> bytes:
    head = f"{method} {f'/w/{existing.world}/v1' if base is None else base}{path} HTTP/1.1\r\nHost: localhost\r\n"
    lines = [*headers, b"Authorization: Bearer sk-test"]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return head.encode("utf-8", "surrogateescape") + b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def forms(existing: Existing) -> Iterator[Attempt]:
    """Malformed forms, and valid forms that are unusual."""
    disposition = b'Content-Disposition: form-data; name="file"; filename="a.txt"'
    purpose = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n'
    valid_form = b"--b\r\n" + disposition + b"\r\n\r\nx\r\n--b--\r\n"
    names = [
        b"",
        b"form-data",
        b"form-data; name=file",
        b'form-data; name=""; filename=""',
        b"form-data; filename=x",
        b'attachment; name="file"; filename="x"',
        b"; ; ;;; name=file;; filename=x",
        b'form-data; name="file"; filename="' + b"n" * MIB + b'"',
        b"form-data; name=\"file\"; filename*=utf-8''" + b"%41" * (300 * KIB),
        b"form-data; " + b"a=b; " * 20_000 + b"name=file; filename=x",
        b'form-data; name="file"; filename="' + b'\\"' * 50_000,
        b'form-data; name="file' + b'"' * 9 + b"; filename=x",
        b"form-data; name=file; filename*=utf-8'en'%00%01%0a%0d",
        b"form-data; name=file; filename*=utf-8''%c0%ae%c0%ae%c0%af",
        b"form-data; name=file; filename*=utf-8''%ed%a0%80%ed%b0%80",
        b"form-data; name=file; filename*=utf-7''+AGEALg-",
        b"form-data; name=file; filename*=''",
        b'form-data; name="file"; filename="\xed\xa0\x80.txt"',
        b'form-data; name="file"; filename="\xc0\xae\xc0\xae/\xc0\xaf.txt"',
        b'form-data; name="file"; filename="../../../../etc/passwd"',
        b'form-data; name="file"; filename="/dev/null"',
        b'form-data; name="file"; filename="..\\..\\x"',
        b'form-data; name="file"; filename="a\x00b"',
        b'form-data; name="file"; filename="%00%0D%0AX-Evil: 1"',
        b'form-data; name="file\x00"; filename="x"',
        b'form-data; name="fi\xffle"; filename="x"',
        b'form-data; NAME="file"; FILENAME="x"',
        b'form-data; name="file"; name="purpose"; filename="x"; filename="y"',
    ]
    heads = [b"Content-Disposition: " + name for name in names] + [
        disposition + b"\r\n" + disposition,
        disposition + b"\r\nX: " + b"y" * MIB,
        disposition + b"".join(b"\r\nX-%d: y" % n for n in range(5_000)),
        disposition + b"\r\n folded: yes",
        disposition + b"\r\nno colon at all",
        disposition + b"\r\n: empty name",
        disposition + b"\r\nX\x00Y: z",
        disposition + b"\r\nX: \x00\x01\x7f",
        disposition + b"\r\nContent-Transfer-Encoding: base64",
        disposition + b"\r\nContent-Length: 99999999999999999999",
        disposition + b"\r\nContent-Type: multipart/mixed; boundary=inner",
        disposition + b"\r\nContent-Type: application/json",
        b'Content-Disposition: form-data; name="file_id"\r\nContent-Type: application/json',
        disposition.replace(b"\r\n", b"\n"),
    ]
    bodies = [b"--b\r\n" + head + b"\r\n\r\nx\r\n--b--\r\n" for head in heads]
    bodies += [
        b"",
        b"-",
        b"--",
        b"--b",
        b"--b--",
        b"--b\r\n",
        b"--b\r\n\r\n",
        b"--b\r\n--b--",
        b"--b\n" + disposition + b"\n\nx\n--b--\n",
        b"\r\n" * 100_000 + valid_form,
        b"preamble\r\n" + valid_form,
        b"\x00" * 1_000 + valid_form,
        valid_form * 3,
        valid_form + b"\xff" * 100_000,
        valid_form.replace(b"--b--", b"--b-"),
        valid_form.replace(b"--b--", b"--bb--"),
        valid_form.replace(b"\r\n--b--", b"--b--"),
        valid_form.replace(b"\r\n\r\n", b"\r\n"),
        b"--b\r\n" + disposition + b"\r\n\r\n" + b"\r\n--" * 100_000 + b"\r\n--b--\r\n",
        b"--b\r\n" + disposition + b"\r\n\r\n" + b"\r\n--b" * 1_000 + b"\r\n--b--\r\n",
        b"".join(b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n1\r\n' % n for n in range(2_000)) + valid_form,
        b'--b\r\nContent-Disposition: form-data; name="file_id"\r\n\r\n' + b"x" * (2 * MIB) + b"\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="file_id"\r\n\r\n\xed\xa0\x80\x00\r\n--b--\r\n',
        b"--b\r\n" * 10_000,
        purpose * 2 + valid_form,
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + b"\x00" * 10 + b"\r\n" + valid_form,
        b'--b\r\nContent-Disposition: form-data; name="expires_after"\r\nContent-Type: application/json\r\n\r\n'
        + b"[" * 100_000 + b"\r\n" + purpose + valid_form,
        b'--b\r\nContent-Disposition: form-data; name="expires_after"\r\nContent-Type: application/json\r\n\r\n'
        + b'{"anchor": {"a": [NaN]}, "seconds": 1e999}\r\n' + purpose + valid_form,
        b'--b\r\nContent-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n' + b"9" * 5_000 + b"\r\n"
        b'--b\r\nContent-Disposition: form-data; name="expires_after[anchor]"\r\n\r\ncreated_at\r\n' + purpose + valid_form,
    ]  # fmt: skip
    targets = (f"/containers/{existing.container}/files", "/files")
    for body in bodies:
        for path in targets:
            sent = purpose + body if path == "/files" and body.startswith(b"--b\r\n") and purpose not in body else body
            yield Attempt(request(existing, "POST", path, b"Content-Type: multipart/form-data; boundary=b", body=sent))
        sent = body.replace(b'name="file', b'name="data').replace(b"name=file", b"name=data")
        path = f"/uploads/{existing.upload}/parts"
        yield Attempt(request(existing, "POST", path, b"Content-Type: multipart/form-data; boundary=b", body=sent))
    types = [
        b"multipart/form-data",
        b"multipart/form-data;",
        b"multipart/form-data; boundary",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b'multipart/form-data; boundary="',
        b"multipart/form-data; boundary=b; boundary=c",
        b"multipart/form-data; boundary=" + b"b" * 60_000,
        b"multipart/form-data; boundary=b\x00",
        b"multipart/form-data; boundary=\xff\xfe",
        b"multipart/form-data; boundary=b b b",
        b"multipart/form-data; boundary*=utf-8''b",
        b"multipart/form-data; boundary=b; charset=utf-7",
        b"multipart/form-data; " + b"a=b;" * 10_000 + b" boundary=b",
        b"MULTIPART/FORM-DATA; BOUNDARY=b",
        b"multipart/form-data , application/json; boundary=b",
        b"multipart/mixed; boundary=b",
        b"multipart/",
        b"application/x-www-form-urlencoded",
        b"text/plain",
        b"\x80",
        b";",
        b"a" * 60_000,
    ]
    for kind in types:
        for path in targets:
            yield Attempt(request(existing, "POST", path, b"Content-Type: " + kind, body=valid_form))


def json_bodies(existing: Existing) -> Iterator[Attempt]:
    """Bodies that are not JSON, too large, or have impossible values."""
    texts = [
        b"", b" ", b"\x00", b"{", b"}", b"[", b'"', b"nul", b"null", b"true", b"1", b'""', b"[]", b"{}{}", b"{},",
        b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", "{}".encode("utf-16"), "{}".encode("utf-32"), b"\xc0\x80", b"\xed\xa0\x80",
        b"[" * 100_000, b'{"a":' * 100_000, b'{"name":' * 150 + b"1" + b"}" * 150, b'{"name":' * 300 + b"1" + b"}" * 300,
        b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"name": NaN}', b'{"name": Infinity}', b'{"name": -Infinity}', b'{"name": 1e999}', b'{"name": -0}',
        b'{"name": ' + b"9" * 5_000 + b"}", b'{"name": 0x1}', b'{"name": 01}', b'{"name": "\\ud800"}',
        b'{"name": "\\udc00\\ud800"}', b'{"name": "\\u0000"}', b'{"name": "\x00"}', b'{"name": "\xed\xa0\x80"}',
        b'{"name": "\xc0\xaf"}', b'{"name": "\xff"}', b'{"name": "\n"}', b'{"name": "\\x41"}', b'{"name": "\\u00"}',
        b'{"name": "a", "name": "b"}', b'{"name": "a",}', b"{'name': 'a'}", b'{"name": "a"} // no', b'{name: "a"}',
        b'{"name": "' + b"n" * (2 * MIB) + b'"}', b'{"name": "x", "\\ud800": 1}', b'{"name": "x", "": 1}',
        b'{"name": "x", "__proto__": {}, "constructor": 1}', b'{"name": "x", "{0}{param}%s": 1}', b'{"name": "{0.__class__}"}',
        b'{"name": "x", "' + b"k" * MIB + b'": 1}', b'{"name": "\xf3\xa0\x80\x81\xe2\x80\xae"}',
        b'{"name": "x", "file_ids": [' + b'"f",' * 100_000 + b'"f"]}', b'{"name": "x", "file_ids": ["\\u0000"]}',
        b'{"name": "x", "file_ids": ["file-unknown", 1, null]}', b'{"name": "x", "file_ids": {"0": "f"}}',
        b'{"name": "x", "skills": [{"type": {}}]}', b'{"name": "x", "skills": [{"type": "inline"}]}',
        b'{"name": "x", "skills": [[[[]]]]}', b'{"name": "x", "network_policy": {"type": []}}',
        b'{"name": "x", "network_policy": {"type": "allowlist", "allowed_domains": ["\\ud83d"]}}',
        b'{"name": "x", "network_policy": "disabled"}', b'{"name": "x", "memory_limit": {"1g": 1}}',
    ]  # fmt: skip
    numbers = [
        "1e400",
        "-1e400",
        "1e-400",
        "9" * 4_000,
        "-" + "9" * 4_000,
        "1.0",
        "20.0",
        "true",
        "null",
        '"20"',
        "[]",
        "{}",
    ]
    for number in [*numbers, str(2**31), str(2**63), str(2**64), str(-(2**63)), "0", "-1", "5270401"]:
        for key in ("minutes", "days"):
            texts.append(
                b'{"name": "x", "expires_after": {"anchor": "last_active_at", "%s": %s}}'
                % (key.encode(), number.encode())
            )
    for text in texts:
        for path in ("/containers", f"/containers/{existing.container}/files"):
            yield Attempt(request(existing, "POST", path, b"Content-Type: application/json", body=text))
    ids = b",".join([b'"part_x"'] * 15_000)
    for text in [
        *texts[:45],
        b'{"part_ids": [%b]}' % ids,
        b'{"part_ids": [null]}',
        b'{"part_ids": {"0": "part"}}',
        b'{"part_ids": [], "md5": 1}',
        b'{"part_ids": [], "md5": "' + b"0" * MIB + b'"}',
        b'{"part_ids": ["' + b"p" * MIB + b'"]}',
        b'{"part_ids": ["\\u0000\\ud83d"]}',
        *(b'{"filename": "a", "purpose": "vision", "mime_type": "a", "bytes": %b}' % each.encode() for each in numbers),
        b'{"filename": "../\\u0000\\r\\n", "purpose": "vision", "mime_type": "\\u2028", "bytes": 0}',
        b'{"filename": "a", "purpose": {"a": 1}, "mime_type": "a", "bytes": 0, "expires_after": []}',
    ]:
        for path in ("/uploads", f"/uploads/{existing.upload}/complete"):
            yield Attempt(request(existing, "POST", path, b"Content-Type: application/json", body=text))
    for kind in (
        b"",
        b"application/json; charset=utf-16",
        b"application/problem+json",
        b"text/json",
        b"+json",
        b"\xff",
        b"application/json" * 2_000,
    ):
        yield Attempt(request(existing, "POST", "/containers", b"Content-Type: " + kind, body=b'{"name": "x"}'))  # fmt: skip


WRONG_VALUES = (
    None,
    True,
    -1,
    1.5,
    10**30,
    "",
    "\0",
    "{0}%s",
    "a" * 10_000,
    [],
    [None],
    [[{}]],
    {},
    {"type": None},
    {"a": [1]},
)


def responses(existing: Existing) -> Iterator[Attempt]:
    """Runs with values of wrong types, replayed items without required keys, contradictory and endless schemas."""
    code = {"type": "code_interpreter", "container": {"type": "auto"}}
    shell = {"type": "shell", "environment": {"type": "container_auto"}}
    bodies: list[dict[str, object]] = []
    for field in CreateResponse.model_fields:
        bodies += [{"tools": [code], "stream": field == "text", field: value} for value in WRONG_VALUES]
    for tool in (code, shell):
        for field in ("container", "environment", "type", "file_ids", "network_policy", "memory_limit", "skills"):
            bodies += [{"tools": [{**tool, field: value}]} for value in WRONG_VALUES]
            bodies += [{"tools": [code | {"container": {"type": "auto", field: value}}]} for value in WRONG_VALUES]
    keys = ("id", "role", "content", "status", "code", "outputs", "container_id", "action", "environment", "output")
    parts = [{"type": kind, key: value} for kind in ("input_file", "input_image", "input_text") for value in (*WRONG_VALUES, "data:,%", "ü")
             for key in ("file_data", "image_url", "file_id", "filename", "text")]  # fmt: skip
    bodies += [{"input": [{"role": "user", "content": [part]}]} for part in parts]
    names = ("../../x", "\0", "a" * 5_000, "", "/", "\\", "..")
    bodies += [{"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "aGk=", "filename": name}]}]}
               for name in names]  # fmt: skip
    for kind in (*PREFIXES, "item_reference", "unknown", "", "\0"):
        bodies.append({"input": [{"type": kind}], "stream": True})
        bodies += [
            {"input": [{"type": kind, "role": "user", "content": "x", key: value}]}
            for key in keys
            for value in WRONG_VALUES[:-1:2]
        ]
    schema = {"properties": {"a": {"type": "string"}}, "required": ["a"]}
    keywords = ("type", "properties", "required", "items", "minItems", "minLength", "minimum", "exclusiveMinimum", "format", "$ref", "enum", "anyOf", "allOf", "const")  # fmt: skip
    schemas: list[object] = [
        schema | {"type": kind, keyword: value} for kind in ("object", "array", "string", "number") for keyword in keywords for value in WRONG_VALUES
    ]  # fmt: skip
    schemas += [
        {"allOf": [{"$ref": "#"}] * 3},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 100},
        *WRONG_VALUES,
    ]
    schemas.append({"type": "array", "minItems": 100, "items": {"const": "x" * 100_000}})
    bodies += [{"text": {"format": {"type": "json_schema", "name": "x", "schema": each}}} for each in schemas]
    bodies += [
        {"input": [{"role": "user", "content": "x"}] * 30_000},
        {"input": [{"type": "shell_call_output", "call_id": "c"}] * 20_000},
        {"input": [[[[]]]] * 1_000},
        {"input": "a.csv b.png " * 80_000},
        {"input": "```python\n" * 50_000},
        {"input": ("a" * 1_000 + ".") * 900},
        {"input": "a" * MIB, "stream": True},
    ]
    for body in bodies:
        run = {"model": "m", "input": "make a.csv", "tools": [code, shell]} | body
        yield Attempt(
            request(existing, "POST", "/responses", b"Content-Type: application/json", body=json.dumps(run).encode())
        )
    deep = b'{"model": "m", "input": ' + b'[{"a":' * 90 + b"1" + b"}]" * 90 + b', "stream": true}'
    for raw in (deep, deep.replace(b"[", b"[" * 3).replace(b"]", b"]" * 3), b'{"model": "m", "input": "\\ud800"}', b'{"model": "m", "input": "\xff"}'):  # fmt: skip
        yield Attempt(request(existing, "POST", "/responses", b"Content-Type: application/json", body=raw))
    rule = json.dumps({"when": "/(a+)+(a?){100}$/", "say": "{text}" * 1_000}).encode()
    control = f"/_mock/worlds/{existing.world}"
    yield Attempt(request(existing, "POST", "/answers", b"Content-Type: application/json", body=rule, base=control))
    raw_keys = ("content", "summary", "code", "outputs", "container_id", "action", "environment", "output", "arguments", "name", "call_id", "id", "status", "phase")  # fmt: skip
    for item in (
        {"type": kind, key: value} for kind in (*PREFIXES, "unknown") for key in raw_keys for value in WRONG_VALUES[::3]
    ):
        rule = json.dumps({"output": [item, {"type": "function_call", "name": "f"} | item], "times": 1}).encode()
        yield Attempt(request(existing, "POST", "/answers", b"Content-Type: application/json", body=rule, base=control))
        streamed = json.dumps({"model": "m", "input": "x", "tools": [code, shell], "stream": True}).encode()
        yield Attempt(request(existing, "POST", "/responses", b"Content-Type: application/json", body=streamed))
    for text in ("a" * MIB + "b", "a" * MIB):
        long = json.dumps({"model": "m", "input": text}).encode()
        yield Attempt(request(existing, "POST", "/responses", b"Content-Type: application/json", body=long))
    for path in PATHS:
        for method, route in (
            ("GET", "/responses/{}"),
            ("DELETE", "/responses/{}"),
            ("GET", "/responses/{}/input_items"),
        ):
            yield Attempt(request(existing, method, route.format(quote(path, safe="%"))))
    for query in (
        "stream=true&starting_after=9",
        "starting_after=x",
        "include[]=x",
        "stream=1",
        "starting_after=" + "9" * 30,
    ):
        yield Attempt(request(existing, "GET", f"/responses/resp_x?{query}"))


def request_heads(existing: Existing) -> Iterator[Attempt]:
    """Request lines and headers."""
    line = f"GET /w/{existing.world}/v1/containers HTTP/1.1\r\n".encode()
    rest = b"Host: localhost\r\nAuthorization: Bearer sk-test\r\n"
    extras = [
        b"X: " + b"y" * (60 * KIB),
        b"X: " + b"y" * (2 * MIB),
        b"y" * (2 * MIB) + b": X",
        b"\r\n".join(b"X-%d: y" % n for n in range(1_000)),
        b"\r\n".join(b"X-%d: y" % n for n in range(100_000)),
        b"\r\n".join(b"Cookie: a=%d" % n for n in range(1_000)),
        b"X: y\r\n folded\r\n\tmore",
        b"no colon",
        b": no name",
        b"X : y",
        b" X: y",
        b"X\x00: y",
        b"X: \x00",
        b"X: a\x01b\x7fc",
        b"X: \xff\xfe\x80",
        b"X\xff: y",
        b"X: a\rb",
        b"X: a\nb: c",
        b"Host: other.example",
        b"Host:",
        b"Connection: close, keep-alive, upgrade",
        b"Connection: " + b"x," * 20_000,
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        b"Expect: 100-continue",
        b"Expect: everything",
        b"Authorization: Bearer " + b"k" * (50 * KIB),
        b"Authorization: Basic \xff\xfe",
        b"Authorization:",
        b"api-key: \x80\xff",
        b"Accept-Encoding: gzip;q=nan, br;q=-1, *;q=1e9",
        b"Range: bytes=0-" + b"9" * 5_000,
        b"Cookie: " + b"mockserver_token=\xff; " * 100,
        b"X-Mock-Fault: {",
        b"X-Mock-Fault: " + b"[" * 10_000,
        b'X-Mock-Fault: {"status": NaN}',
        b'X-Mock-Fault: {"headers": {"X\\r\\nY": "z"}, "status": 400}',
        b'X-Mock-Fault: {"headers": {"X": "a\\r\\nb: c"}, "status": 400}',
        b'X-Mock-Fault: {"status": 99}',
        b"X-Mock-Fault: \xff\xfe",
        b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: localhost\r\nForwarded: for=\"[::1]\"",
        b"X-HTTP-Method-Override: DELETE",
        b"Content-Encoding: gzip",
    ]  # fmt: skip
    for extra in extras:
        yield Attempt(line + extra + b"\r\n" + rest + b"\r\n")
        yield Attempt(line + rest + extra + b"\r\n\r\n")
    path = f"/w/{existing.world}/v1/containers".encode()
    lines = [
        b"GET " + path,
        b"GET " + path + b" HTTP/0.9",
        b"GET " + path + b" HTTP/1.0",
        b"GET " + path + b" HTTP/1.2",
        b"GET " + path + b" HTTP/2.0",
        b"GET " + path + b" HTTP/9.9",
        b"GET " + path + b" HTTP/1.1 more",
        b"GET " + path + b" http/1.1",
        b"GET " + path + b" ICAP/1.0",
        b"get " + path + b" HTTP/1.1",
        b"G\x00T " + path + b" HTTP/1.1",
        b"GET\t" + path + b"\tHTTP/1.1",
        b"GET  " + path + b"  HTTP/1.1",
        b" GET " + path + b" HTTP/1.1",
        b"M" * 100_000 + b" " + path + b" HTTP/1.1",
        b"TRACE " + path + b" HTTP/1.1",
        b"CONNECT localhost:1 HTTP/1.1",
        b"CONNECT " + path + b" HTTP/1.1",
        b"PROPFIND " + path + b" HTTP/1.1",
        b"M-SEARCH * HTTP/1.1",
        b"PURGE " + path + b" HTTP/1.1",
        b"SOURCE " + path + b" HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET http://other.example" + path + b" HTTP/1.1",
        b"GET http://user:pw@localhost:99999" + path + b" HTTP/1.1",
        b"GET //other.example" + path + b" HTTP/1.1",
        b"GET file:///etc/passwd HTTP/1.1",
        b"GET http:// HTTP/1.1",
        b"GET other.example:80 HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET ? HTTP/1.1",
        b"GET # HTTP/1.1",
        b"GET " + path + b"#fragment HTTP/1.1",
        b"GET " + path + b"\x00 HTTP/1.1",
        b"GET " + path + b"\xff\xfe HTTP/1.1",
        b"GET " + path + b"\xc3\xbc HTTP/1.1",
        b"GET " + path + b"?" + b"\xff" * 100 + b" HTTP/1.1",
        b"GET /" + b"a" * (60 * KIB) + b" HTTP/1.1",
        b"GET /" + b"a" * (2 * MIB) + b" HTTP/1.1",
        b"GET /" + b"%2e%2e/" * 5_000 + b" HTTP/1.1",
        b"GET " + path + b"?" + b"a=b&" * 15_000 + b" HTTP/1.1",
        b"",
        b"\r\n\r\n\r\nGET " + path + b" HTTP/1.1",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
        b"SSH-2.0-x",
        b"\x00" * 10_000,
        b"\xff" * 10_000,
        b"\r" * 10_000,
        b"A" * (2 * MIB),
    ]
    for first in lines:
        complete = first not in (b"", b"\r" * 10_000, b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00")
        yield Attempt(first + b"\r\n" + rest + b"\r\n", complete=complete)
    yield Attempt(line.replace(b"\r\n", b"\n") + rest.replace(b"\r\n", b"\n") + b"\n")
    yield Attempt(line.replace(b"\r\n", b"\r") + rest.replace(b"\r\n", b"\r") + b"\r", complete=False)


def body_framings(existing: Existing) -> Iterator[Attempt]:
    """Contradictory lengths and chunks, as in request smuggling."""
    line = f"POST /w/{existing.world}/v1/containers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-test\r\nContent-Type: application/json\r\n".encode()
    body = b'{"name": "smuggled"}'
    hidden = b"DELETE /w/%b/v1/containers/%b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-test\r\n\r\n" % (
        existing.world.encode(), existing.container.encode())  # fmt: skip
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    sizes = [b"-1", b"+20", b"0x14", b"20 20", b"20,20", b"20, 21", b"2 0", b"", b"\x0020", b"9" * 30, b"20;", b"1e1", b"\xc2\xb2", b"20\x0b"]  # fmt: skip
    for size in sizes:
        yield Attempt(line + b"Content-Length: " + size + b"\r\n\r\n" + body)
    pairs = [
        (b"Content-Length: 20\r\nContent-Length: 21", body),
        (b"Content-Length: 20\r\nContent-Length: 20", body),
        (b"Content-Length: 0\r\nContent-Length: 20", body),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", chunked + hidden),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5", chunked + hidden),
        (b"Transfer-Encoding: chunked\r\nContent-Length: %d" % len(chunked), chunked),
        (b"Transfer-Encoding: xchunked", chunked),
        (b"Transfer-Encoding: chunked, identity", chunked),
        (b"Transfer-Encoding: identity, chunked", chunked),
        (b"Transfer-Encoding: gzip, chunked", chunked),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", chunked),
        (b"Transfer-Encoding : chunked", chunked),
        (b"Transfer-Encoding:\x0bchunked", chunked),
        (b"Transfer-Encoding: \"chunked\"", chunked),
        (b"Transfer-Encoding: chun\r\n ked", chunked),
        (b"X: y\rTransfer-Encoding: chunked", chunked),
        (b"X: y\nTransfer-Encoding: chunked", chunked),
        (b"Content-Length: 5\r\nX:\x00\r\nTransfer-Encoding: chunked", chunked + hidden),
    ]  # fmt: skip
    for headers, sent in pairs:
        yield Attempt(line + headers + b"\r\n\r\n" + sent, complete=b"identity, chunked" not in headers)
    chunks = [
        b"-1\r\nx\r\n0\r\n\r\n", b"g\r\nx\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\nx",
        b"5;" + b"e" * (2 * MIB) + b"\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloworld\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\n\r\nhello\r\n0\r\n\r\n",
        b"5;a=\x00\r\nhello\r\n0\r\n\r\n", b"05\r\nhello\r\n000\r\n\r\n",
        b"14\r\n" + body + b"\r\n0\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(50_000)) + b"\r\n",
        b"14\r\n" + body + b"\r\n0\r\nContent-Length: 5\r\nHost: other\r\n\r\n" + hidden,
    ]  # fmt: skip
    for each in chunks:
        # Some are valid beginnings of a body, to which the server responds only once the client closes its side.
        yield Attempt(line + b"Transfer-Encoding: chunked\r\n\r\n" + each, complete=False)
    for length in (b"5", b"1000000"):
        yield Attempt(line + b"Content-Length: " + length + b"\r\n\r\n" + body, complete=False)
    for method in (b"GET", b"DELETE", b"HEAD"):
        yield Attempt(line.replace(b"POST", method, 1) + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden)
        yield Attempt(line.replace(b"POST", method, 1) + b"Transfer-Encoding: chunked\r\n\r\n" + chunked)
    for chunk in (b"1\r\n%c\r\n" % byte for byte in body[:1]):
        yield Attempt(line + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 20_000 + b"0\r\n\r\n")


PATHS = [
    "..", ".", "...", "%2e%2e", "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd", "..%2f..%2f", "..%5c..%5c", "..;", "../../../../etc/passwd",
    "%2e%2e/%2e%2e/lock", "%252e%252e%252f", "%c0%ae%c0%ae%c0%af", "%e0%80%ae", "%f0%80%80%af", "%ed%a0%80", "%ff%fe", "%00",
    "%00.txt", "a%00b", "%0d%0aSet-Cookie:x", "%0a", "%09", "%20", "%7f", "%", "%2", "%zz", "%u002e", "~root", "C:%5c", "nul",
    "blobs", "uploads", "mockserver.db", "lock", "cntr_", "cfile_", "file-", "a" * 10_000, "%41" * 5_000, "*", "'", "%22", "%3Cscript%3E",
    "{0}", "{container_id}", "%7B0.__class__%7D", "%25s", "$(id)", "`id`", "'; DROP TABLE files;--", "1 OR 1=1", "\u202e", "\U0001f4a9",
]  # fmt: skip


def paths(existing: Existing) -> Iterator[Attempt]:
    """Path traversal in ids and in names of worlds."""
    routes = (
        "/containers/{}", "/containers/{}/files", "/containers/{}/files/x/content", "/files/{}", "/files/{}/content",
        "/containers?after={}", "/files?purpose={}&limit=1", "/containers?limit={}", "/uploads/{}/cancel", "/{}",
    )  # fmt: skip
    container_file = f"/containers/{existing.container}/files/{{}}"
    for part in PATHS:
        escaped = (
            part.replace(" ", "%20").encode().decode("latin-1") if not part.isascii() else part.replace(" ", "%20")
        )
        for route in (*routes, container_file, container_file + "/content"):
            yield Attempt(
                request(existing, "GET", route.format(escaped)).replace(
                    escaped.encode(), part.replace(" ", "%20").encode()
                )
            )
        for base in (
            "/w/{}/v1",
            "/w/{}",
            "/w/{}/v1/w/x/v1",
            "/{}/v1",
            "/v1/w/{}",
            "/_mock/worlds/{}",
            "/_mock/worlds/x/snapshots/{}",
        ):
            attempt = request(existing, "GET", "/containers", base=base.format(escaped))
            yield Attempt(attempt.replace(escaped.encode(), part.replace(" ", "%20").encode()))
        yield Attempt(request(existing, "DELETE", f"/containers/{escaped}").replace(escaped.encode(), part.replace(" ", "%20").encode()))  # fmt: skip
        key = b"Authorization: Bearer sk-world-" + part.encode()
        yield Attempt(b"GET /v1/containers HTTP/1.1\r\nHost: localhost\r\n" + key + b"\r\n\r\n")


def query_strings(existing: Existing) -> Iterator[Attempt]:
    values = ["", "0", "-1", "1e9", "9" * 5_000, "%00", "%ff", "%F0%9F", "1&limit=2", "1;limit=2", "[]", "1%0a", "+1", "%2B1", "\u0661", "١٢", "a" * 50_000, "NaN", "0x10", "1_0", "%EF%BC%91"]  # fmt: skip
    for key in (
        "limit",
        "order",
        "after",
        "before",
        "name",
        "purpose",
        "stream",
        "starting_after",
        "include[]",
        "limit[]",
        "%6cimit",
        "LIMIT",
        "",
        "%00",
        "{0}",
    ):
        for value in values:
            for path in (
                "/containers",
                f"/containers/{existing.container}/files",
                "/files",
                "/skills",
                f"/skills/{existing.skill}/versions",
                f"/responses/{existing.response}",
                f"/responses/{existing.response}/input_items",
            ):
                data = request(existing, "GET", f"{path}?{key}=VALUE").replace(b"VALUE", value.encode())
                yield Attempt(data)


def ranges(existing: Existing) -> Iterator[Attempt]:
    values = ["bytes=0-", "bytes=-0", "bytes=-", "bytes=1-0", "bytes=9-", "bytes=" + "9" * 17 + "-", "bytes=" + "9" * 5_000 + "-", "bytes=0-" + "9" * 18, "bytes=--1", "bytes=0-0," * 5_000, "bytes=0x0-1", "bytes = 0-1", "bits=0-1", "bytes=0-1\t", "bytes=\u0660-", "=", ""]  # fmt: skip
    for path in (
        f"/containers/{existing.container}/files/{existing.container_file}/content",
        f"/files/{existing.file}/content",
    ):
        for method in ("GET", "HEAD"):
            for each in values:
                yield Attempt(request(existing, method, path, b"Range: " + each.encode()))


def valid_requests(existing: Existing) -> list[bytes]:
    """Valid requests, which others truncate and change."""
    upload = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
        b"bytes\r\n--b--\r\n"
    )
    file = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n' + upload
    kind = b"Content-Type: multipart/form-data; boundary=b"
    chunked = b"".join(
        b"%x\r\n%b\r\n" % (len(upload[at : at + 30]), upload[at : at + 30]) for at in range(0, len(upload), 30)
    )
    return [
        request(existing, "GET", "/containers?limit=2&order=asc"),
        request(existing, "HEAD", f"/files/{existing.file}/content", b"Range: bytes=0-1"),
        request(existing, "POST", "/containers", b"Content-Type: application/json", body=json.dumps({"name": "ü"}).encode()),
        request(existing, "POST", f"/containers/{existing.container}/files", kind, body=upload),
        request(existing, "POST", "/files", kind, body=file),
        request(existing, "POST", f"/containers/{existing.container}/files", kind, b"Transfer-Encoding: chunked") + chunked + b"0\r\n\r\n",
        request(existing, "POST", f"/uploads/{existing.upload}/parts", kind, body=b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\nx\r\n--b--\r\n'),
        request(existing, "POST", "/clock/advance", b"Content-Type: application/json", body=b'{"by": "1s"}', base=f"/_mock/worlds/{existing.world}"),
    ]  # fmt: skip


def skills(existing: Existing) -> Iterator[Attempt]:
    """Broken bundles, zip bombs, wrong front matter and path traversal, as zips, as folders and inline."""
    good = zipped()
    names = [
        "../SKILL.md",
        "/SKILL.md",
        "m/../../x",
        "m//SKILL.md",
        "m\\SKILL.md",
        "C:/x",
        "m/\x00",
        "m/" + "x" * 4_000,
        ".",
    ]
    bundles = [
        b"",
        b"PK",
        b"PK\x03\x04",
        b"PK\x05\x06" + b"\x00" * 18,
        b"PK\x05\x06" + b"\xff" * 18,
        good[:-1],
        good[10:],
        good * 2,
        good + b"\x00" * 70_000,
        good.replace(b"m", b"\xff"),
        *(zipped({name: MANIFEST, "m/SKILL.md": MANIFEST}) for name in names if "\x00" not in name),
        zipped({"m/SKILL.md": MANIFEST, "m/z": bytes(20 * MIB)}, zipfile.ZIP_DEFLATED),
        zipped({f"m/{n}": "" for n in range(5_000)}),
        *(
            zipped({"m/SKILL.md": text})
            for text in (
                "---\n" + "[" * 60_000,
                "---\nname: " + "{a: " * 10_000 + "\n---\n",
                "---\na: &a [*a]\nname: x\n---\n",
                "---\n" + "%TAG ! x\n" * 5_000 + "---\n",
                "---\n" + "? " * 20_000 + "\n---\n",
                "---\nname: !!python/object/apply:os.system ['x']\n---\n",
                "---\nname: |" + "9" * 5_000 + "\n---\n",
                "---\n\x00\n---\n",
                "---\n" + "---\n" * 10_000,
            )
        ),
    ]
    for at in range(0, len(good), 3):
        bundles.append(good[:at] + b"\xff" + good[at + 1 :])
    form = b"Content-Type: multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n%b\r\n'
    for bundle in bundles:
        body = part % (b"files", b"m.zip", bundle) + b"--b--\r\n"
        yield Attempt(request(existing, "POST", "/skills", form, body=body))
        source = {"type": "base64", "media_type": "application/zip", "data": base64.b64encode(bundle).decode() or "x"}
        skill = {"type": "inline", "name": "x", "description": "x", "source": source}
        container = json.dumps({"name": "x", "skills": [skill]}).encode()
        yield Attempt(request(existing, "POST", "/containers", b"Content-Type: application/json", body=container))
    for name in names:
        body = part % (b"files[]", name.encode(), MANIFEST.encode()) * 2 + b"--b--\r\n"
        yield Attempt(request(existing, "POST", "/skills", form, body=body))
    yield Attempt(
        request(existing, "POST", "/skills", form, body=part % (b"files[]", b"m/x", b"") * 3_000 + b"--b--\r\n")
    )


def truncated_requests(existing: Existing) -> Iterator[Attempt]:
    """Every valid request, truncated after each of its bytes."""
    for valid_request in valid_requests(existing):
        for length in range(1, len(valid_request)):
            yield Attempt(valid_request[:length], complete=False)


def slow_requests(existing: Existing) -> Iterator[Attempt]:
    """Every valid request, a few bytes at a time."""
    for valid_request in valid_requests(existing):
        for piece_size in (1, 2, 3, 5, 7, 11, 64):
            yield Attempt(valid_request, piece_size=piece_size)


def mutated_requests(existing: Existing) -> Iterator[Attempt]:
    """Every valid request with each of its bytes changed or removed."""
    for valid_request in valid_requests(existing):
        for at in range(len(valid_request)):
            for other in (b"\x00", b"\r", b"\n", b"\xff", b" ", b":", b"%", b""):
                yield Attempt(valid_request[:at] + other + valid_request[at + 1 :], complete=False)


KINDS: dict[str, Callable[[Existing], Iterator[Attempt]]] = {
    "forms: headers, boundaries, names, endings": forms,
    "JSON: depth, numbers, surrogates, encodings": json_bodies,
    "responses: types, replayed items, raw items of scripts, schemas, long texts": responses,
    "request lines and headers, up to 2 MiB": request_heads,
    "framing: lengths, chunks, hidden requests": body_framings,
    "paths, ids, worlds and keys with path traversal": paths,
    "query strings": query_strings,
    "ranges": ranges,
    "skills: zips, folders, front matter": skills,
    "valid requests, truncated after every byte": truncated_requests,
    "valid requests, a few bytes at a time": slow_requests,
    "valid requests, every byte changed or removed": mutated_requests,
}
