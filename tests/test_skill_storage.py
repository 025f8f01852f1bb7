"""Skills in containers, seeds, archives, forks, snapshots, upgrades and the control plane."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import World, error_message, new_world, ok, stored
from skill_bundles import DESCRIPTION, MANIFEST, NAME, folder, inline_skill, manifest, skill_reference, zipped

from mockserver.seeds.loader import every_problem
from mockserver.server.serving import MockServer
from mockserver.settings import SeedError
from mockserver.testing import Server

LARGE = bytes(range(256)) * 100
"""Too large for a row: it is stored as a file."""


@pytest.fixture
def control(world: World) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{world.server.url}/_mock/worlds/{world.name}", timeout=60) as client:
        yield client


def create_container(world: World, *skills: dict[str, Any]) -> str:
    return str(ok(world.http.post("/containers", json={"name": "box", "skills": skills}))["id"])


def mounted_skills(control: httpx2.Client, container: str) -> list[tuple[Any, ...]]:
    skills = ok(control.get(f"/containers/{container}"))["skills"]
    assert [each["position"] for each in skills] == list(range(len(skills)))
    return [(each["skill_id"], each["version"], each["name"], each["path"]) for each in skills]


# In containers


def test_a_container_keeps_its_skills_after_they_change_or_are_deleted(world: World, control: httpx2.Client) -> None:
    client = world.openai
    skill = client.skills.create(files=folder())
    client.skills.versions.create(skill.id, files=("m.zip", zipped({"m/SKILL.md": manifest("second")})))
    container = create_container(
        world,
        skill_reference(skill.id),
        skill_reference(skill.id, version="latest"),
        skill_reference("openai-spreadsheets", version="latest"),
        inline_skill(),
    )
    client.skills.update(skill.id, default_version="2")
    client.skills.delete(skill.id)
    assert mounted_skills(control, container) == [
        (skill.id, "1", NAME, "/home/oai/skills/basic-math-1"),
        (skill.id, "2", "second", "/home/oai/skills/second-2"),
        ("openai-spreadsheets", "latest", "openai-spreadsheets", "/home/oai/skills/openai-spreadsheets-latest"),
        (None, None, NAME, "/home/oai/skills/basic-math"),
    ]
    files = ok(control.get(f"/containers/{container}/skills/0"))["data"]
    assert [each["path"] for each in files] == ["SKILL.md", "assets/a.txt", "run.py"]
    assert control.get(f"/containers/{container}/skills/0/assets/a.txt").text == "assets/a.txt"
    assert control.get(f"/containers/{container}/skills/3/SKILL.md").text == MANIFEST
    error_message(control.get(f"/containers/{container}/skills/0/none"), 404, "skill_file_not_found")
    error_message(control.get(f"/containers/{container}/skills/4"), 404, "skill_not_found")
    assert ok(control.get("/containers"))["data"][0]["skills"][0]["description"] == DESCRIPTION
    world.freeze()
    world.advance(10**7)
    assert control.get(f"/containers/{container}/skills/1/SKILL.md").text == manifest("second"), (
        "an expired container keeps its skills"
    )


def test_contents_of_deleted_and_rejected_skills_are_removed(tmp_path: Path) -> None:
    with MockServer(data=tmp_path) as server, new_world(server) as world:
        for content in (b"small", LARGE):
            skill = world.openai.skills.create(files=[*folder("SKILL.md"), ("math/x", content, "")])
            world.openai.skills.versions.create(skill.id, files=folder())
            container = create_container(world, skill_reference(skill.id), inline_skill())
            world.openai.skills.versions.delete("2", skill_id=skill.id)
            world.openai.skills.delete(skill.id)
            assert len(stored(tmp_path)) == 2, "the container still uses them"
            world.http.delete(f"/containers/{container}")
            server.run(server.mock.worlds.finish(trash=True))
            assert stored(tmp_path) == {}
        error_message(world.http.post("/skills", files={"files": zipped({"SKILL.md": "x" * 50_000})}), 400, None)
        body = {"name": "box", "skills": [inline_skill(), skill_reference("skill_x")]}
        error_message(world.http.post("/containers", json=body), 400, None)
        server.run(server.mock.worlds.finish(trash=True))
        assert stored(tmp_path) == {}
        assert list((tmp_path / "uploads").iterdir()) == []


# The control plane


def test_the_control_plane_creates_lists_reads_and_deletes_skills(world: World, control: httpx2.Client) -> None:
    seed = {"versions": [{"files": [{"path": "SKILL.md", "content": manifest(f"v-{n}")}]} for n in (1, 2)]}
    skill = ok(control.post("/skills", json=seed))
    assert (skill["name"], skill["versions"], skill["default_version"]) == ("v-1", ["2", "1"], "1")
    other = world.openai.skills.create(files=("m.zip", sent := zipped()))
    page = ok(control.get("/skills", params={"limit": 1}))
    assert ([each["id"] for each in page["data"]], page["total"], page["has_more"]) == ([other.id], 2, True)
    assert ok(control.get("/skills", params={"limit": 1, "after": other.id}))["data"] == [skill]
    assert ok(control.get("/skills", params={"search": "V-"}))["data"] == [skill]
    version = ok(control.get(f"/skills/{other.id}/versions/1"))
    assert version["files"] == [{"path": "SKILL.md", "bytes": len(MANIFEST)}, {"path": "run.py", "bytes": 9}]
    saved = control.get(f"/skills/{other.id}/versions/1/content")
    assert saved.content == sent
    assert saved.headers["content-disposition"] == 'attachment; filename="basic-math.zip"'
    assert control.get(f"/skills/{other.id}/versions/1/files/run.py?bytes=5").text == "print"
    for path in (f"/skills/{other.id}/versions/9", "/skills/x", "/skills/x/versions/1/content"):
        assert control.get(path).status_code == 404
    assert ok(control.delete(f"/skills/{skill['id']}"))["deleted"] is True
    counts = ok(control.get(str(control.base_url).rstrip("/")))["counts"]
    assert (counts["skills"], counts["skill_versions"]) == (1, 1)
    assert ok(control.get("/journal"))["total"] == 1, "requests to the control plane are not recorded"


def test_the_journal_records_the_files_of_a_skill(world: World, control: httpx2.Client) -> None:
    world.openai.skills.create(files=folder())
    many = [(f"math/{n}", b"", "") for n in range(60)]
    world.openai.skills.create(files=[*folder("SKILL.md"), *many])
    first, second = (each["request"]["body"] for each in ok(control.get("/journal"))["data"])
    assert [each["filename"] for each in first["files"]] == ["math/SKILL.md", "math/run.py", "math/assets/a.txt"]
    assert first["files"][0]["bytes"] == len(MANIFEST)
    assert (len(second["files"]), second["…"]) == (50, "11 files more")


def test_changes_of_skills_are_published(world: World, control: httpx2.Client) -> None:
    create_container(world)
    with world.server.mock.events.subscribed() as subscriber:
        skill = world.openai.skills.create(files=folder())
        assert subscriber.take()[world.name] == ["journal", "skills", "worlds"]
        ok(control.delete(f"/skills/{skill.id}"))
        assert subscriber.take()[world.name] == ["skills", "worlds"]


def test_faults_apply_to_operations_on_skills(world: World, control: httpx2.Client) -> None:
    rule = {"match": {"operation": "*SkillVersion*"}, "effect": {"error": "skill_version_not_found"}}
    ok(control.post("/faults", json=rule))
    skill = world.openai.skills.create(files=folder())
    assert world.http.get(f"/skills/{skill.id}").status_code == 200
    assert "Skill version '1' not found." in world.http.get(f"/skills/{skill.id}/versions").text


# Seeds


SEED = """\
version: 1
skills:
  - {ref: folder, from: csv}
  - {ref: zip, id: skill_zip, from: pack.zip}
  - id: skill_two
    default_version: 2
    versions:
      - files: [{path: SKILL.md, content: "---\\nname: one\\ndescription: One.\\n---\\n"}]
      - {version: 2, from: csv, created_at: -1h}
      - {version: 7, from: pack.zip}
containers:
  - name: box
    skills:
      - {skill: folder}
      - {skill: skill_two}
      - {skill: skill_two, version: 1}
      - {skill: skill_two, version: latest}
      - {from: csv}
worlds:
  other:
    containers: [{name: more, skills: [{skill: zip}]}]
"""
MOUNTED_PATHS = ["csv-insights-1", "csv-insights-2", "one-1", "basic-math-7", "csv-insights"]


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    (tmp_path / "csv" / "assets").mkdir(parents=True)
    (tmp_path / "csv" / "SKILL.md").write_text(manifest("csv-insights"))
    (tmp_path / "csv" / "assets" / "a.bin").write_bytes(LARGE)
    (tmp_path / "csv" / ".hidden").write_text("x")
    (tmp_path / "pack.zip").write_bytes(zipped())
    path = tmp_path / "seed.yaml"
    path.write_text(SEED)
    return path


def mounted_paths(server: MockServer, world: str) -> list[str]:
    with httpx2.Client(base_url=f"{server.url}/_mock/worlds/{world}", timeout=60) as control:
        (container,) = [each for each in ok(control.get("/containers"))["data"] if each["name"] == "box"]
        return [each["path"].removeprefix("/home/oai/skills/") for each in container["skills"]]


def test_a_seed_creates_skills_and_containers_with_them(seed: Path) -> None:
    with MockServer(seed=[seed]) as server:
        for name in ("any", "other"):
            with World(server, name) as world:
                skills = {each.id: each for each in world.openai.skills.list()}
                assert {each.name for each in skills.values()} == {"csv-insights", NAME}
                two = skills["skill_two"]
                assert (two.default_version, two.latest_version, two.name) == ("2", "7", "csv-insights")
                versions = [*world.openai.skills.versions.list("skill_two")]
                assert [each.version for each in versions] == ["7", "2", "1"]
                assert versions[0].created_at - versions[1].created_at == 3_600
                assert world.openai.skills.versions.create("skill_two", files=folder()).version == "8"
                assert mounted_paths(server, name) == MOUNTED_PATHS
        with httpx2.Client(base_url=f"{server.url}/_mock/worlds/any") as control:
            files = ok(control.get("/skills/skill_two/versions/2"))["files"]
            assert [each["path"] for each in files] == ["SKILL.md", "assets/a.bin"]
            assert control.get("/skills/skill_two/versions/2/files/assets/a.bin").content == LARGE


def test_a_seed_with_skills_can_be_added_to_a_running_world(world: World, seed: Path) -> None:
    """As a file, with its folder and zip; then as a mapping, which may refer to existing skills."""
    seed.write_text(SEED.partition("worlds:")[0])
    with closing(Server(world.server.url)) as server:
        mock = server.world(world.name, seed=seed)
        assert mounted_paths(world.server, world.name) == MOUNTED_PATHS
        content = {"path": "SKILL.md", "content": MANIFEST}
        added = mock.seed(
            {"skills": [{"files": [content]}], "containers": [{"name": "x", "skills": [{"skill": "skill_two"}]}]}
        )
        assert [len(added[kind]) for kind in ("skills", "containers")] == [1, 1]
        assert world.openai.skills.retrieve(added["skills"][0]).name == NAME


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("from: csv}\n  - {ref: zip", "from: nothing}\n  - {ref: zip"), "there is no file 'nothing'"),
        (("{skill: folder}", "{skill: unknown}"), "no skill has the ref or id 'unknown'"),
        (("default_version: 2", "default_version: 3"), "choose one of: 1, 2, 7"),
        (("version: 7", "version: 2"), "two versions have the same number"),
        (("ref: zip,", "ref: folder,"), "'folder' is already used"),
        (("ref: zip,", "ref: zip, base64: UEs=,"), "give its files as one of from, base64, files"),
        (("{from: csv}", "{from: csv, skill: zip}"), "name a skill, or give its files"),
        (("name: one", "name: One"), "the skill is invalid: the name 'One'"),
        (("path: SKILL.md", "path: a/SKILL.md"), "folder of its folder"),
        (("path: SKILL.md", "path: ../SKILL.md"), "the skill is invalid"),
    ],
)
def test_invalid_skills_in_a_seed_are_reported(seed: Path, change: tuple[str, str], problem: str) -> None:
    seed.write_text(SEED.replace(*change, 1))
    (message,) = every_problem([seed], 1 << 20)
    assert problem in message
    assert str(seed) in message


def test_a_server_does_not_start_with_an_invalid_zip_or_an_unknown_version_in_its_seed(seed: Path) -> None:
    pack = seed.parent / "pack.zip"
    pack.write_bytes(zipped({"m/README.md": "x"}))
    with pytest.raises(SeedError, match="0 files named"), MockServer(seed=[seed]):
        pass
    pack.write_bytes(zipped())
    seed.write_text(SEED.replace("version: latest", "version: 9"))
    with pytest.raises(SeedError, match="no version '9'"), MockServer(seed=[seed]):
        pass


# Copies


def visible_state(server: MockServer, world: str) -> list[Any]:
    """Return what clients see of the skills of a world."""
    with World(server, world) as world_, httpx2.Client(base_url=f"{server.url}/_mock/worlds/{world}") as control:
        lists = [ok(world_.http.get(path)) for path in ("/skills", "/skills/skill_two/versions", "/containers")]
        contents = [world_.http.get(f"/skills/{each['id']}/content").content for each in lists[0]["data"]]
        mounted = [
            control.get(f"/containers/{each['id']}/skills/{skill['position']}/SKILL.md").content
            for each in ok(control.get("/containers"))["data"]
            for skill in each["skills"]
        ]
        return [*lists, *contents, *mounted, ok(control.get(str(control.base_url).rstrip("/")))["counts"]]


def test_forks_snapshots_and_archives_include_all_skills(seed: Path, tmp_path: Path) -> None:
    seed.write_text("clock: {at: 2026-06-24T18:04:00Z, rate: 0}\n" + SEED)
    with MockServer(seed=[seed]) as server, closing(Server(server.url)) as client:
        mock = client.world("any")
        with World(server, "any") as world:
            world.openai.skills.versions.create("skill_two", files=folder())
            world.openai.skills.versions.delete("7", skill_id="skill_two")
            world.openai.skills.delete(world.openai.skills.create(files=folder()).id)
            before = visible_state(server, "any")
            mock.snapshot("kept")
            mock.export(tmp_path / "a.zip")
            server.run(server.mock.worlds.create("fork", fork_of="any"))
            assert visible_state(server, "fork") == before
            world.openai.skills.delete("skill_two")
            assert visible_state(server, "fork") == before, "a fork has its own contents"
            server.run(server.mock.worlds.restore("any", "kept"))
            assert visible_state(server, "any") == before
            assert world.openai.skills.versions.create("skill_two", files=folder()).version == "9"
        other = client.world("imported", empty=True)
        other.import_(tmp_path / "a.zip")
        other.export(tmp_path / "b.zip")
        assert visible_state(server, "imported") == before
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with MockServer(seed=[tmp_path / "a.zip"]) as server:
        assert visible_state(server, "any") == before


# Upgrades


def test_a_database_without_tables_of_skills_is_upgraded(tmp_path: Path) -> None:
    with MockServer(data=tmp_path) as server, World(server, "w") as world:
        container = world.openai.containers.create(name="old").id
        file = world.openai.files.create(file=("a.bin", LARGE), purpose="vision").id
    (path,) = tmp_path.glob("worlds/*-w/world.db")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP VIEW named_contents")
        for name in ("skills", "skill_versions"):
            database.execute(f"DROP VIEW live_{name}")
            database.execute(f"DROP TABLE {name}")
        database.execute("DROP TABLE container_skills")
        files = ("files", "container_files")
        views = " UNION ALL ".join(f"SELECT digest FROM live_{name}" for name in files)
        database.execute(f"CREATE VIEW named_contents AS {views}")
        database.execute("PRAGMA user_version=3")
    with MockServer(data=tmp_path) as server, World(server, "w") as world:
        assert world.openai.containers.retrieve(container).name == "old"
        skill = world.openai.skills.create(files=[*folder("SKILL.md"), ("math/x", LARGE, "")])
        create_container(world, skill_reference(skill.id))
        world.openai.files.delete(file)
        server.run(server.mock.worlds.finish(trash=True))
        assert len(stored(tmp_path)) == 1
