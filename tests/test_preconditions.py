"""Conditional requests for contents, as RFC 9110 has them: what the client has already, and resumed downloads."""

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import World, ok
from hypothesis import given, settings
from hypothesis import strategies as st

from mockserver.api.preconditions import etag, is_current, wanted_range

CONTENT = b"month,revenue\nJanuary,1200\n" * 100
TAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
OTHER = f'"{"0" * 64}"'
SIZE = len(CONTENT)


@pytest.fixture(params=["container file", "File"])
def path(request: pytest.FixtureRequest, world: World) -> str:
    """Of a content."""
    if request.param == "File":
        file = ok(world.http.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision"}))
        return f"/files/{file['id']}/content"
    files = f"/containers/{ok(world.http.post('/containers', json={'name': 'box'}))['id']}/files"
    return f"{files}/{ok(world.http.post(files, files={'file': ('a.csv', CONTENT)}))['id']}/content"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_is_not_sent_again(world: World, path: str, method: str) -> None:
    whole = world.http.request(method, path)
    assert (whole.status_code, whole.headers["etag"]) == (200, TAG)
    assert "accept-ranges" not in whole.headers
    for header, status in {
        TAG: 304,
        f"W/{TAG}": 304,
        "*": 304,
        f"{OTHER}, {TAG}": 304,
        f'"a,b" ,, W/"",{TAG},': 304,
        OTHER: 200,
        "": 200,
        TAG.strip('"'): 200,
        f"{TAG}, unquoted": 200,
        f"w/{TAG}": 200,
        f"*, {TAG}": 200,
    }.items():
        answer = world.http.request(method, path, headers={"If-None-Match": header, "Range": f"bytes={SIZE}-"})
        expected = 304 if status == 304 else 416  # only what is sent at all can have a range that it lacks
        assert answer.status_code == expected, header
        if status == 304:
            assert (answer.headers["etag"], answer.content) == (TAG, b"")
            assert not answer.headers.keys() & {"content-length", "content-type", "content-range"}
    both = [("If-None-Match", OTHER), ("If-None-Match", TAG)]
    assert world.http.request(method, path, headers=both).status_code == 304


@pytest.mark.parametrize(
    ("condition", "status"),
    [(TAG, 206), (f"W/{TAG}", 200), (OTHER, 200), ("*", 200), ("Wed, 24 Jun 2026 18:04:00 GMT", 200), ("", 200)],
)
def test_the_rest_is_sent_only_of_the_same_bytes(world: World, path: str, condition: str, status: int) -> None:
    answer = world.http.get(path, headers={"Range": "bytes=10-", "If-Range": condition})
    assert answer.status_code == status
    assert answer.content == (CONTENT[10:] if status == 206 else CONTENT)
    assert (answer.headers["etag"], answer.headers["accept-ranges"]) == (TAG, "bytes")
    beyond = world.http.get(path, headers={"Range": f"bytes={SIZE}-", "If-Range": condition})
    assert beyond.status_code == (416 if status == 206 else 200)
    assert world.http.get(path, headers={"If-Range": condition}).status_code == 200


def test_a_download_that_breaks_off_is_resumed(world: World, path: str) -> None:
    """However often it breaks off, and wherever."""

    @settings(max_examples=10)
    @given(st.lists(st.integers(1, SIZE - 1), unique=True, max_size=5).map(sorted))
    def resumed(stops: list[int]) -> None:
        have = b""
        for stop in [*stops, SIZE]:
            fault = {"X-Mock-Fault": f'{{"truncate_after": {stop - len(have)}}}'} if stop < SIZE else {}
            rest = {"Range": f"bytes={len(have)}-", "If-Range": TAG} if have else {}
            with world.http.stream("GET", path, headers=fault | rest) as answer:
                assert answer.status_code == (206 if have else 200)
                try:
                    for piece in answer.iter_raw():
                        have += piece
                except Exception:
                    assert stop < SIZE
        assert have == CONTENT

    resumed()


# All that can stand in the headers

opaque = st.text([chr(each) for each in (0x21, *range(0x23, 0x7F), *range(0x80, 0x100))], max_size=8)
spaces = st.text(" \t", max_size=3)
digests = st.sampled_from(["a", "b", "ab"])


def asked(*headers: tuple[str, str]) -> Any:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return SimpleNamespace(scope={"headers": pairs}, headers=dict(reversed(pairs)))


@given(digests, st.lists(st.tuples(st.booleans(), opaque | digests, spaces, spaces, st.integers(1, 3)), max_size=5))
def test_a_list_of_tags_is_compared_weakly(digest: str, tags: list[tuple[bool, str, str, str, int]]) -> None:
    header = "".join(
        f'{before}{"W/" if weak else ""}"{tag}"{after}{"," * commas}' for weak, tag, before, after, commas in tags
    )
    expected = any(tag == digest for _, tag, *_ in tags)
    assert is_current(asked(("if-none-match", header)), etag(digest)) is expected
    lines = [("if-none-match", f'{"W/" if weak else ""}"{tag}"') for weak, tag, *_ in tags]
    assert is_current(asked(*lines), etag(digest)) is expected
    assert not is_current(asked(("if-none-match", header + "x")), etag(digest)), "what is malformed is no condition"


@given(st.text([chr(each) for each in range(256)], max_size=12) | st.just('"a"'))
def test_anything_in_these_headers_harms_nothing(header: str) -> None:
    current = is_current(asked(("if-none-match", header)), etag("a"))
    assert not current or header.strip() == "*" or '"a"' in header
    ranged = wanted_range(asked(("if-range", header), ("range", "bytes=1-")), etag("a"))
    assert ranged == (b"bytes=1-" if header.strip(" \t\r\n\f\v") == '"a"' else b"")
