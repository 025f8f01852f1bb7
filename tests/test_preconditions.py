"""Conditional requests for contents (RFC 9110): `If-None-Match`, and `If-Range` for resumed downloads."""

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import World, ok
from hypothesis import given, settings
from hypothesis import strategies as st

from mockserver.api.contents import etag, is_current, wanted_range

CONTENT = b"month,revenue\nJanuary,1200\n" * 100
TAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
OTHER_TAG = f'"{"0" * 64}"'
SIZE = len(CONTENT)


@pytest.fixture(params=["container file", "File"])
def path(request: pytest.FixtureRequest, world: World) -> str:
    """The path of `CONTENT`, stored as a file of each kind."""
    if request.param == "File":
        file = ok(world.http.post("/files", files={"file": ("a.csv", CONTENT)}, data={"purpose": "vision"}))
        return f"/files/{file['id']}/content"
    files = f"/containers/{ok(world.http.post('/containers', json={'name': 'box'}))['id']}/files"
    return f"{files}/{ok(world.http.post(files, files={'file': ('a.csv', CONTENT)}))['id']}/content"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_content_that_matches_if_none_match_is_304(world: World, path: str, method: str) -> None:
    whole = world.http.request(method, path)
    assert (whole.status_code, whole.headers["etag"]) == (200, TAG)
    assert "accept-ranges" not in whole.headers
    for header, status in {
        TAG: 304,
        f"W/{TAG}": 304,
        "*": 304,
        f"{OTHER_TAG}, {TAG}": 304,
        f'"a,b" ,, W/"",{TAG},': 304,
        OTHER_TAG: 200,
        "": 200,
        TAG.strip('"'): 200,
        f"{TAG}, unquoted": 200,
        f"w/{TAG}": 200,
        f"*, {TAG}": 200,
    }.items():
        response = world.http.request(method, path, headers={"If-None-Match": header, "Range": f"bytes={SIZE}-"})
        # Without a match the range is evaluated, and it starts after the last byte.
        expected = 304 if status == 304 else 416
        assert response.status_code == expected, header
        if status == 304:
            assert (response.headers["etag"], response.content) == (TAG, b"")
            assert not response.headers.keys() & {"content-length", "content-type", "content-range"}
    both = [("If-None-Match", OTHER_TAG), ("If-None-Match", TAG)]
    assert world.http.request(method, path, headers=both).status_code == 304


@pytest.mark.parametrize(
    ("condition", "status"),
    [(TAG, 206), (f"W/{TAG}", 200), (OTHER_TAG, 200), ("*", 200), ("Wed, 24 Jun 2026 18:04:00 GMT", 200), ("", 200)],
)
def test_a_range_is_returned_only_when_if_range_matches(world: World, path: str, condition: str, status: int) -> None:
    response = world.http.get(path, headers={"Range": "bytes=10-", "If-Range": condition})
    assert response.status_code == status
    assert response.content == (CONTENT[10:] if status == 206 else CONTENT)
    assert (response.headers["etag"], response.headers["accept-ranges"]) == (TAG, "bytes")
    beyond = world.http.get(path, headers={"Range": f"bytes={SIZE}-", "If-Range": condition})
    assert beyond.status_code == (416 if status == 206 else 200)
    assert world.http.get(path, headers={"If-Range": condition}).status_code == 200


def test_an_interrupted_download_can_be_resumed(world: World, path: str) -> None:
    @settings(max_examples=10)
    @given(st.lists(st.integers(1, SIZE - 1), unique=True, max_size=5).map(sorted))
    def download(stops: list[int]) -> None:
        received = b""
        for stop in [*stops, SIZE]:
            fault = {"X-Mock-Fault": f'{{"truncate_after": {stop - len(received)}}}'} if stop < SIZE else {}
            range_headers = {"Range": f"bytes={len(received)}-", "If-Range": TAG} if received else {}
            with world.http.stream("GET", path, headers=fault | range_headers) as response:
                assert response.status_code == (206 if received else 200)
                try:
                    for piece in response.iter_raw():
                        received += piece
                except Exception:
                    assert stop < SIZE
        assert received == CONTENT

    download()


# Generated header values

opaque = st.text([chr(each) for each in (0x21, *range(0x23, 0x7F), *range(0x80, 0x100))], max_size=8)
spaces = st.text(" \t", max_size=3)
digests = st.sampled_from(["a", "b", "ab"])


def request_with(*headers: tuple[str, str]) -> Any:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return SimpleNamespace(scope={"headers": pairs}, headers=dict(reversed(pairs)))


@given(digests, st.lists(st.tuples(st.booleans(), opaque | digests, spaces, spaces, st.integers(1, 3)), max_size=5))
def test_entity_tags_of_if_none_match_are_compared_weakly(
    digest: str, tags: list[tuple[bool, str, str, str, int]]
) -> None:
    header = "".join(
        f'{before}{"W/" if weak else ""}"{tag}"{after}{"," * commas}' for weak, tag, before, after, commas in tags
    )
    expected = any(tag == digest for _, tag, *_ in tags)
    assert is_current(request_with(("if-none-match", header)), etag(digest)) is expected
    lines = [("if-none-match", f'{"W/" if weak else ""}"{tag}"') for weak, tag, *_ in tags]
    assert is_current(request_with(*lines), etag(digest)) is expected
    assert not is_current(request_with(("if-none-match", header + "x")), etag(digest)), "a malformed header is ignored"


@given(st.text([chr(each) for each in range(256)], max_size=12) | st.just('"a"'))
def test_arbitrary_header_values_match_only_the_exact_tag(header: str) -> None:
    current = is_current(request_with(("if-none-match", header)), etag("a"))
    assert not current or header.strip() == "*" or '"a"' in header
    range_ = wanted_range(request_with(("if-range", header), ("range", "bytes=1-")), etag("a"))
    assert range_ == (b"bytes=1-" if header.strip(" \t\r\n\f\v") == '"a"' else b"")
