"""Seeds: the objects that they create in a new world, and the errors of invalid seeds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import httpx2
import pytest
from conftest import NOON, World, new_world, stored

from mockserver.seeds import models
from mockserver.seeds.document import Source
from mockserver.seeds.loader import read_seeds
from mockserver.server.serving import MockServer
from mockserver.settings import SeedError
from mockserver.storage.contents import Upload

SEEDS = Path(__file__).parents[1] / "fixtures" / "seeds"
LIMIT = 1 << 20

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "seed.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    return write


@contextmanager
def seeded(*paths: Path, world: str = "any") -> Iterator[World]:
    with MockServer(seed=paths) as server, World(server, world) as seeded_world:
        yield seeded_world


def test_all_shipped_seeds_can_be_loaded_together() -> None:
    assert {"minimal.yaml", "rich.yaml", "large.yaml", "docs.yaml"} <= {path.name for path in SEEDS.glob("*.yaml")}
    assert "460 containers" in read_seeds([SEEDS], LIMIT).summary()


def test_the_rich_seed_contains_every_key_that_is_not_reserved_for_exports() -> None:
    document = Source(SEEDS / "rich.yaml").values
    keys = document.keys() | document["worlds"]["demo"].keys()
    assert keys == models.Document.model_fields.keys() - {"ordinal", "deleted", "responses"}


def test_the_rich_seed_creates_its_objects() -> None:
    with seeded(SEEDS / "rich.yaml") as world:
        boxes = {each["name"]: each for each in world.http.get("/containers").json()["data"]}
        assert set(boxes) == {"report", "auto", "keeper", *(f"worker-{n}" for n in range(1, 6))}
        report = boxes["report"]
        assert (report["status"], report["memory_limit"]) == ("running", "4g")
        assert report["network_policy"] == {"type": "allowlist", "allowed_domains": ["example.com"]}
        assert boxes["auto"]["status"] == "expired"
        assert world.openai.skills.list().data[0].name == "basic-math"
        upload = world.openai.uploads.complete("upload_table", part_ids=["part_head", "part_rows"])
        assert (upload.file and upload.file.bytes) == 27
        assert boxes["keeper"]["expires_after"] == {"anchor": "created_at", "minutes": 7 * 1_440}
        report_files = {
            each["path"].removeprefix("/mnt/data/"): each
            for each in world.http.get(f"/containers/{report['id']}/files").json()["data"]
        }
        assert report_files["plots/revenue.png"]["source"] == "assistant"
        assert report_files["plots/revenue.png"]["bytes"] is None
        assert report_files["summary.md"]["bytes"] == 10
        assert report_files["file-SalesFigures2026-sales.csv"]["source"] == "user"
        content = world.http.get(f"/containers/{report['id']}/files/{report_files['summary.md']['id']}/content")
        assert content.text == "# Summary\n"
        files = {each["filename"]: each for each in world.http.get("/files").json()["data"]}
        assert files["batch-2.jsonl"]["bytes"] == 64 << 10
        assert files["batch-2.jsonl"]["expires_at"] - files["sales.csv"]["created_at"] == 32 * 86_400
        assert files["report.py"]["bytes"] == (SEEDS / "data" / "report.py").stat().st_size


def test_the_seed_of_a_single_world_applies_only_to_that_world() -> None:
    with (
        MockServer(seed=(SEEDS / "rich.yaml",)) as server,
        World(server, "demo") as demo,
        new_world(server) as other,
    ):
        assert demo.http.get("/containers/cntr_demo").json()["created_at"] == 1_769_860_800
        assert len(demo.http.get("/containers").json()["data"]) == 9
        assert other.http.get("/containers/cntr_demo").status_code == 404
        strict = {"name": "box", "expires_after": {"anchor": "last_active_at", "minutes": 60}}
        assert demo.http.post("/containers", json=strict).status_code == 400
        assert other.http.post("/containers", json=strict).status_code == 200


def test_snippets_of_the_sdk_documentation_run_on_the_docs_seed() -> None:
    with seeded(SEEDS / "docs.yaml") as world:
        client = world.openai
        for file_id in ("file-abc123", "file-def456", "file-log1", "file-log2", "file-log3"):
            assert client.files.retrieve(file_id).id == file_id
        copied = client.containers.files.retrieve(container_id="container-abc123", file_id="file-def456")
        assert copied.path == "/mnt/data/file-def456-config.json"
        content = client.containers.files.content.retrieve("file-def456", container_id="container-abc123")
        assert content.read() == b'{"debug": true}\n'
        client.containers.files.create("container-abc123", file_id="file-abc123")
        client.containers.files.delete("file-abc123", container_id="container-abc123")
        assert client.files.retrieve("file-abc123").status == "processed"


def test_seeded_ids_are_equal_in_all_worlds_and_valid_as_cursors() -> None:
    with seeded(SEEDS / "docs.yaml", SEEDS / "minimal.yaml") as world, World(world.server, "other") as other:
        first_ids = [each.http.get("/containers").json()["first_id"] for each in (world, other)]
        assert first_ids[0] == first_ids[1]
        page = world.http.get("/containers?after=container-abc123&order=asc").json()
        assert [each["name"] for each in page["data"]] == ["analysis"]


def test_generated_contents_are_reproducible(write: Write) -> None:
    seed = write("""
        version: 1
        files:
          - {filename: zeros, purpose: vision, generate: {size: 100, pattern: zeros}}
          - {filename: text, purpose: vision, generate: {size: 100KB}}
          - {filename: random, purpose: vision, generate: {size: 100KB, pattern: random}}
    """)

    def contents() -> list[bytes]:
        with seeded(seed) as world:
            return [world.openai.files.content(each.id).read() for each in world.openai.files.list(order="asc")]

    first = contents()
    assert [len(each) for each in first] == [100, 102_400, 102_400]
    assert first[0] == bytes(100)
    assert contents() == first


def test_seeds_can_be_json(write: Write) -> None:
    seed = write(
        """
        {"version": 1, "clock": {"at": "2026-06-24T18:10:00Z", "rate": 0},
         "containers": [{"name": "from json", "created_at": 1782324240}]}
        """,
        "seed.json",
    )
    with seeded(seed) as world:
        (container,) = world.openai.containers.list().data
        assert (container.name, container.created_at) == ("from json", NOON)


def test_the_folders_of_a_plain_directory_become_containers(write: Write, tmp_path: Path) -> None:
    write("a,b\n", "boxes/first/table.csv")
    write("x\n", "boxes/first/deep/er.txt")
    write("", "boxes/.git/config")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "sub/Desktop.ini"):
        write("", f"boxes/second/{name}")
    with seeded(tmp_path / "boxes") as world:
        boxes = {each.name: each for each in world.openai.containers.list()}
        assert set(boxes) == {"first", "second"}
        paths = sorted(each.path.partition("-")[2] for each in world.openai.containers.files.list(boxes["first"].id))
        assert paths == ["deep/er.txt", "table.csv"]
        assert world.openai.containers.files.list(boxes["second"].id).data == []


def test_a_file_beside_the_folders_of_a_plain_directory_is_rejected(write: Write, tmp_path: Path) -> None:
    write("a,b\n", "boxes/first/table.csv")
    for name in (".hidden", "Thumbs.db"):
        write("", f"boxes/{name}")
    assert read_seeds([tmp_path / "boxes"], LIMIT).summary() == "1 container, 1 container file"
    write("x\n", "boxes/top.txt")
    with pytest.raises(SeedError, match=r"boxes/top\.txt is in no folder.*; move it into one"):
        read_seeds([tmp_path / "boxes"], LIMIT)


def test_an_empty_directory_seeds_nothing(tmp_path: Path) -> None:
    assert read_seeds([tmp_path], LIMIT).summary() == "nothing"


def test_the_summary_describes_worlds_by_the_objects_they_add(write: Write) -> None:
    path = write(
        "version: 1\nfiles: [{filename: a, content: a}]\nworlds: {old: {profile: docs}, new: {answers: [{say: x}]}}"
    )
    assert read_seeds([path], LIMIT).summary() == "1 File; world old: the same objects; world new: also 1 answer"


def test_seeds_of_a_directory_are_merged_and_can_share_files(write: Write, tmp_path: Path) -> None:
    write("version: 1\nfiles: [{ref: shared, filename: a.txt, content: a}]\n", "seeds/1.yaml")
    write("version: 1\ncontainers: [{name: box, files: [{file: shared}]}]\n", "seeds/2.yaml")
    with seeded(tmp_path / "seeds") as world:
        (box,) = world.openai.containers.list().data
        (container_file,) = world.openai.containers.files.list(box.id).data
        (file,) = world.openai.files.list().data
        assert container_file.path == f"/mnt/data/{file.id}-a.txt"


def test_existing_worlds_of_a_data_directory_are_not_seeded_again(write: Write, tmp_path: Path) -> None:
    data = tmp_path / "data"
    before = write("version: 1\ncontainers: [{name: old}]\n", "old.yaml")
    after = write("version: 1\ncontainers: [{name: new}]\n", "new.yaml")
    with MockServer(seed=(before,), data=data) as server, World(server, "kept") as world:
        assert [each.name for each in world.openai.containers.list()] == ["old"]
    with MockServer(seed=(after,), data=data) as server:
        assert server.mock.kept_worlds == ["kept"]
        with World(server, "kept") as kept, World(server, "fresh") as fresh:
            assert [each.name for each in kept.openai.containers.list()] == ["old"]
            assert [each.name for each in fresh.openai.containers.list()] == ["new"]


INVALID_SEEDS = {
    "an unknown key": (
        "version: 1\nfiles:\n  - filenam: x\n    content: y\n",
        3,
        "unknown key 'filenam'; did you mean 'filename'? choose one",
    ),
    "an unknown key at the top": (
        "version: 1\ncontainer: []\n",
        2,
        "unknown key 'container'; did you mean 'containers'?",
    ),
    "an unknown key in a world": (
        "version: 1\nworlds:\n  a:\n    fles: []\n",
        4,
        "worlds.a: unknown key 'fles'; did you mean 'files'? choose one of: clock, ",
    ),
    "an unknown key in a policy": (
        "version: 1\ncontainers:\n  - name: a\n    network_policy:\n      type: disabled\n      domains: []\n",
        6,
        "choose one of: type, allowed_domains",
    ),
    "a key that exports write is not offered": (
        "version: 1\ncontainers:\n  - name: a\n    <<: {}\n",
        4,
        "choose one of: id, ref, name, created_at, last_active_at, expires_after, memory_limit, network_policy, files, "
        "skills, repeat, wedged",
    ),
    "a key of a part": (
        "version: 1\nfaults:\n  - error: rate_limited\n",
        3,
        "unknown key 'error'; write it under 'effect'",
    ),
    "a text for a mapping": (
        "version: 1\ncontainers:\n  - name: a\n    expires_after: 20m\n",
        4,
        "containers.0.expires_after: write a mapping; its keys are: anchor, minutes, days",
    ),
    "a negative number for a time": (
        "version: 1\ncontainers:\n  - name: a\n    last_active_at: -19\n",
        4,
        "write -19m",
    ),
    "a negative number for a clock": ("version: 1\nclock: {at: -19}\n", 2, "write offset: -19m"),
    "an allowlist without domains": (
        "version: 1\ncontainers:\n  - name: a\n    network_policy: {type: allowlist}\n",
        4,
        "an allowlist needs allowed_domains",
    ),
    "domains without an allowlist": (
        "version: 1\ncontainers:\n  - name: a\n    network_policy: {type: disabled, allowed_domains: [a]}\n",
        4,
        "belong to type: allowlist",
    ),
    "an answer of which nothing can happen": (
        "version: 1\nanswers:\n  - {say: x, fail: rate_limited}\n",
        3,
        "write it in a step: {steps: [{say: …}, {fail: rate_limited}]}",
    ),
    "a newer version": ("version: 2\nnew: things\n", 1, "upgrade"),
    "an older version": ("version: 0\n", 1, "write 1"),
    "no version": ("containers: []\n", 1, "'version' is missing"),
    "no name": ("version: 1\ncontainers:\n\n  - memory_limit: 1g\n", 4, "'containers.0.name' is missing"),
    "an invalid memory limit": ("version: 1\ncontainers:\n  - name: a\n    memory_limit: 2g\n", 4, "'1g', '4g'"),
    "an invalid time": ("version: 1\ncontainers:\n  - name: a\n    created_at: yesterday\n", 4, "write 2026"),
    "an invalid duration": ("version: 1\ncontainers:\n  - name: a\n    created_at: -1 fortnight\n", 4, "write 20m"),
    "activity before creation": (
        "version: 1\ncontainers:\n  - {name: a, created_at: -1m, last_active_at: -2m}\n",
        3,
        "correct created_at",
    ),
    "no content": ("version: 1\nfiles:\n  - filename: a\n", 3, "one of content, base64, from, generate"),
    "two contents": ("version: 1\nfiles:\n  - {filename: a, content: a, base64: YQ==}\n", 3, "one of content"),
    "invalid base64": ("version: 1\nfiles:\n  - {filename: a, base64: '!'}\n", 3, "base64 is not valid"),
    "a path outside the folder": ("version: 1\nfiles:\n  - from: ../secret\n", 3, "leaves the seed's folder"),
    "an absolute path": ("version: 1\nfiles:\n  - from: /etc/passwd\n", 3, "leaves the seed's folder"),
    "a link outside the folder": ("version: 1\nfiles:\n  - from: link\n", 3, "leaves the seed's folder"),
    "a path with a null character": ('version: 1\nfiles:\n  - from: "a\\0"\n', 3, "correct the path"),
    "a link to itself": ("version: 1\nfiles:\n  - from: circle\n", 3, "correct the path"),
    "a missing file": ("version: 1\nfiles:\n  - from: not-there.csv\n", 3, "there is no file"),
    "an unknown File": ("version: 1\ncontainers:\n  - {name: a, files: [{file: b}]}\n", 3, "describe it under files"),
    "a duplicate ref": (
        "version: 1\nfiles:\n  - {ref: a, filename: a, content: ''}\n  - {ref: a, filename: b, content: ''}\n",
        4,
        "already used at",
    ),
    "a repeated id": ("version: 1\ncontainers:\n  - {id: cntr_a, name: a, repeat: 2}\n", 3, "use {n}"),
    "an id with invalid characters": ("version: 1\ncontainers:\n  - {id: a/b, name: a}\n", 3, "pattern"),
    "a file that is too large": ("version: 1\nfiles:\n  - {filename: a, generate: {size: 2MB}}\n", 3, "--max-upload"),
    "Base64 that is too large": (
        f"version: 1\nfiles:\n  - {{filename: a, base64: {'A' * 1_400_000}}}\n",
        3,
        "1,050,000 bytes",
    ),
    "a long invalid size": (
        f"version: 1\nfiles:\n  - {{filename: a, generate: {{size: no{'-' * 99}}}}}\n",
        3,
        f"'no{'-' * 78}' is not a size",
    ),
    "an invalid world name": ("version: 1\nworlds:\n  '../up': {}\n", 3, "can't name a world"),
    "two times for a clock": ("version: 1\nclock: {offset: 1h, at: 2026-01-01T00:00:00Z}\n", 2, "either at or offset"),
    "an unknown profile": (
        "version: 1\nprofile: lax\n",
        2,
        "unknown profile 'lax'; choose one of: default, live, docs, contract",
    ),
    "an unknown switch": (
        "version: 1\nprofile: {base: live, lax: on}\n",
        2,
        "unknown switch 'lax'; choose one of: max_minutes",
    ),
    "an invalid switch": (
        "version: 1\nprofile:\n  delete_lag: long\n",
        2,
        "delete_lag: 'long' is not a duration; write 20m",
    ),
    "a duplicate key": ("version: 1\nfiles: []\nfiles: []\n", 3, "duplicate key"),
    "invalid YAML": ("version: 1\nfiles: [\n", 3, "correct the YAML"),
    "a tag": ("version: 1\nfiles: !!python/object:os.system []\n", 2, "remove it"),
    "a list": ("- version: 1\n", 1, "start it with: version: 1"),
    "an empty file": ("# nothing\n", 1, "the file is empty; start it with: version: 1"),
    "a number for a name": ("version: 1\ncontainers:\n  - name: 12\n", 3, "string"),
}


@pytest.mark.parametrize("case", INVALID_SEEDS)
def test_an_invalid_seed_gets_an_error_with_its_line_and_advice(write: Write, tmp_path: Path, case: str) -> None:
    text, line, advice = INVALID_SEEDS[case]
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "circle").symlink_to("circle")
    path = write(text)
    with pytest.raises(SeedError) as raised:
        read_seeds([path], LIMIT)
    message = str(raised.value)
    assert message.startswith(f"{path}:{line}: "), message
    assert "\n" not in message
    assert advice in message


def test_a_duplicate_id_gets_an_error_with_the_lines_of_both_files(write: Write) -> None:
    text = "version: 1\ncontainers:\n  - {id: cntr_a, name: a}\n"
    first, second = write(text, "1.yaml"), write(text, "2.yaml")
    with pytest.raises(SeedError) as raised:
        read_seeds([first, second], LIMIT)
    assert str(raised.value).startswith(f"{second}:3: 'cntr_a' is already used at {first}:3")


@pytest.mark.slow
def test_nested_aliases_are_rejected_before_they_exhaust_memory(write: Write) -> None:
    levels = "\n".join(f"  - &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))
    path = write(f"version: 1\nfiles:\n  - &a0 [x]\n{levels}\n")
    with pytest.raises(SeedError, match="use repeat instead"):
        read_seeds([path], LIMIT)


def test_an_invalid_seed_creates_no_data_directory(write: Write, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(SeedError), MockServer(seed=(write("version: 1\nfiles: [{from: gone}]\n"),), data=data):
        pass
    assert not data.exists()


@pytest.mark.parametrize("name", ["missing.yaml", "missing"])
def test_a_missing_seed_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(SeedError, match="No such file"):
        read_seeds([tmp_path / name], LIMIT)


def test_a_seed_with_an_unknown_extension_is_rejected(write: Write) -> None:
    with pytest.raises(SeedError, match="rename it"):
        read_seeds([write("version: 1", "seed.txt")], LIMIT)


def test_contents_of_all_worlds_are_in_the_templates_of_single_worlds(tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        "version: 1\nfiles: [{filename: large, generate: {size: 20KB}, purpose: vision}]\n"
        "worlds: {own: {containers: [{name: box}]}}\n"
    )
    with MockServer(seed=(seed,)) as server:
        for name in ("any", "own", "other"):
            with World(server, name) as world:
                (file,) = world.openai.files.list().data
                assert len(world.openai.files.content(file.id).read()) == 20 * 1024
        assert not list((server.mock.directory / "uploads").iterdir())


def test_only_a_limited_amount_of_small_contents_is_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contents beyond the limit are files until they are stored as rows."""
    monkeypatch.setattr("mockserver.seeds.contents.IN_MEMORY", 20)
    become_file, temporary_files = Upload.become_file, []

    def become_file_and_count(self: Upload) -> None:
        temporary_files.append(self)
        become_file(self)

    monkeypatch.setattr(Upload, "become_file", become_file_and_count)
    seed = tmp_path / "seed.yaml"
    seed.write_text("version: 1\nfiles: [{filename: 'f-{n}', content: 'content {n}', purpose: vision, repeat: 6}]\n")
    with MockServer(seed=(seed,), data=tmp_path / "data") as server, World(server, "w") as world:
        files = world.http.get("/files?order=asc").json()["data"]
        texts = [world.http.get(f"/files/{file['id']}/content").text for file in files]
        assert texts == [f"content {n}" for n in range(1, 7)]
        assert 0 < len(temporary_files) < 6
        assert len(stored(tmp_path / "data")) == 6
        assert not list((tmp_path / "data").glob("*/*/contents/*/*"))
        assert not list((tmp_path / "data" / "uploads").iterdir())
        duplicate = world.http.post("/files", data={"purpose": "vision"}, files={"file": b"content 6"}).json()
        for file in (*files, duplicate):
            world.http.delete(f"/files/{file['id']}")
        httpx2.delete(f"{server.url}/_mock/worlds/w")
    (tmp_path / "seed.yaml").write_text("version: 1\n")
    with MockServer(seed=(seed,), data=tmp_path / "data"):
        assert stored(tmp_path / "data") == {}
