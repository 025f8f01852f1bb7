"""Answers and responses in seeds, archives, forks, resets and upgrades."""

import io
import json
import sqlite3
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import World, error_message, ok, stored
from skill_bundles import folder, skill_reference

from mockserver import answers
from mockserver.caches import Cache
from mockserver.schema.answers import MAX_SHOWN, NewAnswer
from mockserver.schema.values import STORED
from mockserver.seeds.loader import read_seeds
from mockserver.server.serving import MockServer
from mockserver.settings import SeedError
from mockserver.storage import tables
from mockserver.testing import Server

AUTO: Any = [{"type": "code_interpreter", "container": {"type": "auto"}}]
LARGE = {"size": "40KB", "pattern": "random"}
"""Too large for a row: it is stored as a file."""
NEW_COLUMNS = {
    "containers": ("used_until", "wedged"),
    "container_files": ("response_id", "visible_from", "visible_until"),
}
"""Columns that were added together with responses."""


@pytest.fixture
def control(world: World) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{world.server.url}/_mock/worlds/{world.name}", timeout=60) as client:
        yield client


def rows(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of a world by table, except the row of the world itself."""
    directory = world.server.mock.worlds._directory.worlds[world.name]
    by_table = {}
    with closing(sqlite3.connect(f"file:{directory / 'world.db'}?mode=ro", uri=True)) as database:
        for each in tables.Table.metadata.sorted_tables:
            if each.name != "world":
                key = ", ".join(column.name for column in each.primary_key)
                columns = ", ".join(column.name for column in each.c)
                by_table[each.name] = database.execute(f"SELECT {columns} FROM {each.name} ORDER BY {key}").fetchall()
    return by_table


def run(world: World, prompt: str, **more: Any) -> dict[str, Any]:
    return dict(ok(world.http.post("/responses", json={"model": "gpt-5", "input": prompt, "tools": AUTO} | more)))


def populate(world: World, control: httpx2.Client) -> dict[str, Any]:
    """Create rows in all tables and a run in progress. Return the response of that run."""
    world.freeze()
    skill = world.openai.skills.create(files=folder())
    skills = [skill_reference(skill.id)]
    box = ok(world.http.post("/containers", json={"name": "box", "skills": skills}))
    deleted, wedged = (ok(world.http.post("/containers", json={"name": "other"})) for _ in range(2))
    ok(world.http.delete(f"/containers/{deleted['id']}"))
    file = ok(world.http.post(f"/containers/{box['id']}/files", files={"file": b"deleted"}))
    ok(world.http.delete(f"/containers/{box['id']}/files/{file['id']}"))
    ok(world.http.post("/files", files={"file": ("a.txt", b"a")}, data={"purpose": "vision"}))
    body = {"filename": "a.txt", "purpose": "vision", "bytes": 4, "mime_type": "text/plain"}
    upload = ok(world.http.post("/uploads", json=body))
    ok(world.http.post(f"/uploads/{upload['id']}/parts", files={"data": b"part"}))
    ok(control.post("/faults", json={"id": "f", "match": {"operation": "DeleteFile"}, "effect": {"status": 500}}))
    rules = [
        {"when": "wedge", "code": "1", "fail": {"wedge": True}},
        {"id": "unused", "when": {"metadata": {"b": "1", "a": "2"}}, "output": [{"type": "message", "content": []}]},
        {
            "when": "go",
            "times": 5,
            "steps": [
                {"code": "1", "files": [{"path": "a", "content": "a"}, {"path": "b", "content": ""}], "takes": "60s"},
                {"logs": "x", "files": [{"path": "a", "generate": LARGE, "bytes": 7}], "takes": "60s"},
                {
                    "files": [{"path": "b", "delete": True}],
                    "shows": [{"base64": "iVBORw0KGgo="}],
                    "say": "{links}",
                    "takes": "60s",
                },
            ],
        },
    ]
    ok(control.post("/answers", json=rules))
    run(world, "wedge it", tools=[{"type": "code_interpreter", "container": wedged["id"]}])
    first = run(world, "hello caf\u00e9 \u2028", conversation="conv_1")
    response = run(world, "go", background=True, previous_response_id=first["id"])
    deleted_response = run(world, "nothing", tools=[])
    ok(world.http.delete(f"/responses/{deleted_response['id']}"))
    world.advance(90)
    assert all(rows(world).values()), "each table has a row"
    return response


def test_copies_include_all_rows_and_a_run_in_progress(world: World, control: httpx2.Client) -> None:
    response = populate(world, control)
    before, answers, archive = rows(world), control.get("/answers").content, control.get("/export").content
    box = before["uses"][0][0]
    ok(control.put("/snapshots/kept"))
    ok(control.post(f"../{world.name}-fork", json={"fork_of": world.name}))
    ok(control.post(f"../{world.name}-snapshot", json={"fork_of": world.name, "snapshot": "kept"}))
    ok(control.post(f"../{world.name}-import/import", content=archive))
    with ExitStack() as stack:
        copies = [
            stack.enter_context(World(world.server, f"{world.name}-{origin}"))
            for origin in ("fork", "snapshot", "import")
        ]
        for copy in copies:
            for table, copied in rows(copy).items():
                assert copied == before[table], (copy.name, table)
            assert control.get(f"../{copy.name}/answers").content == answers
            assert control.get(f"../{copy.name}/export").content == archive

        def visible_state(world: World) -> list[bytes]:
            files = world.http.get(f"/containers/{box}/files")
            paths = [f"/containers/{box}/files/{file['id']}/content" for file in files.json().get("data", [])]
            paths += [f"/responses/{response['id']}?include=code_interpreter_call.outputs", f"/containers/{box}"]
            return [files.content, *(world.http.get(path).content for path in paths)]

        states = []
        for step in (0, 45, 1_300):
            for each in (world, *copies):
                each.advance(step)
            states.append(visible_state(world))
            assert [visible_state(copy) for copy in copies] == [states[-1]] * 3, step
        assert [len(each) for each in states] == [6, 6, 3], (
            "three files, then with a changed content, then none in the expired container"
        )
        assert len({each[-2] for each in states}) == 3, "one step, two steps, completed"
    ok(control.post(f"../{world.name}-import/reset?empty=true"))
    assert not any(rows(copies[-1]).values())


# Seeds

SEED = """
version: 1
answers:
  - {id: any, say: "from the top"}
worlds:
  w:
    answers:
      - when: report
        times: 1
        files: [{path: report.csv, from: data/report.csv}, {path: b, generate: {size: 40KB}}]
        say: "Done: {links}"
      - steps:
          - {code: plot(), shows: [{from: data/report.csv}], takes: 8s}
          - say: "{files}"
        when: plot
"""


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "report.csv").write_text("a,b\n")
    (tmp_path / "seed.yaml").write_text(SEED)
    return tmp_path / "seed.yaml"


def answer_counts(control: httpx2.Client) -> list[tuple[Any, ...]]:
    """Return the id, whether it is seeded, and the counts of matches and uses of each answer."""
    answers = ok(control.get("/answers"))["data"]
    return [(each["id"], each["seeded"], each["matched"], each["used"]) for each in answers]


def test_a_seed_defines_answers_for_all_worlds_and_for_one(seed: Path, tmp_path: Path) -> None:
    assert read_seeds([seed], 1 << 20).summary() == "1 answer; world w: also 2 answers"
    with (
        MockServer(seed=(seed,), data=tmp_path / "kept") as server,
        World(server, "w") as world,
        httpx2.Client(base_url=f"{server.url}/_mock/worlds/w") as control,
    ):
        response = run(world, "the REPORT")
        cited = response["output"][1]["content"][0]["annotations"]
        assert [each["filename"] for each in cited] == ["report.csv", "b"]
        path = f"/containers/{cited[0]['container_id']}/files/{cited[0]['file_id']}/content"
        assert world.http.get(path).content == b"a,b\n"
        assert run(world, "the report")["output"][0]["content"][0]["text"] == "from the top"
        ok(control.post("/answers", json={"id": "mine", "say": "mine"}))
        assert run(world, "plot")["output"][0]["content"][0]["text"] == "mine"
        counts = [("mine", False, 1, 1), ("answer-1", True, 2, 1), ("answer-2", True, 0, 0), ("any", True, 1, 1)]
        assert answer_counts(control) == counts
        ok(control.delete("/answers/answer-1"))
        reset = [(id, True, 0, 0) for id in ("answer-1", "answer-2", "any")]
        for _ in range(2):
            assert ok(control.post("/reset"))["counts"]["answers"] == 3
            assert answer_counts(control) == reset
        assert run(world, "plot")["output"][0]["outputs"] is None
        with (
            httpx2.Client(base_url=f"{server.url}/_mock/worlds/other") as other_control,
            World(server, "other") as other,
        ):
            assert run(other, "the report")["output"][0]["content"][0]["text"] == "from the top"
            assert answer_counts(other_control) == [("any", True, 1, 1)]
        ok(control.delete("/answers"))
        server.run(server.mock.worlds.finish(trash=True))
        assert max(map(len, stored(tmp_path / "kept").values())) < 100, (
            "the large file of an answer was removed with it"
        )


def test_a_seed_with_answers_can_be_added_to_a_running_world(world: World, control: httpx2.Client, seed: Path) -> None:
    seed.write_text(SEED.partition("worlds:")[0].replace("say:", "files: [{path: a, from: data/report.csv}], say:"))
    with closing(Server(world.server.url)) as server:
        assert server.world(world.name).seed(seed)["answers"] == ["any"]
    assert answer_counts(control) == [("any", False, 0, 0)]
    response = run(world, "hello")
    box = response["output"][0]["container_id"]
    assert [each["path"] for each in ok(world.http.get(f"/containers/{box}/files"))["data"]] == ["/mnt/data/a"]
    rejected = control.post("/place", json={"files": [{"filename": "x", "content": ""}], "answers": [{"id": "any"}]})
    assert "say what the run does" in error_message(rejected, 400, "invalid_seed")
    body = {"files": [{"filename": "x", "content": ""}], "answers": [{"id": "any", "say": "x"}]}
    error_message(control.post("/place", json=body), 409, "answer_exists")
    body["answers"] = [{"id": "other", "code": "x"}]
    assert "'any' before it" in error_message(control.post("/place", json=body), 400, "answer_unreachable")
    assert ok(world.http.get("/files"))["data"] == [], "a rejected request adds nothing"


INVALID_ANSWERS = {
    "an unknown key": ("{sya: b}", "answers.1: unknown key 'sya'; did you mean 'say'?"),
    "an unknown key of a step": ("{steps: [{says: b}]}", "answers.1.steps.0: unknown key 'says'"),
    "no action": ("{id: b}", "say what the run does"),
    "a duplicate id": ("{id: a, say: b}", "'a' is already used at"),
    "an unreachable answer": ("{when: X, say: b}", "it can never be used, as the answer at"),
    "a missing file": ("{files: [{path: a, from: missing.csv}]}", "there is no file 'missing.csv'"),
    "a file outside of the folder": ("{files: [{path: a, from: ../x}]}", "leaves the seed's folder"),
    "a large file": ("{files: [{path: a, generate: {size: 4MB}}]}", "--max-upload"),
    "a large figure": ("{shows: [{generate: {size: 1025KB}}]}", "step 0 shows a figure of 1,049,600 bytes"),
    "a large figure of a file": ("{shows: [{from: large.png}]}", "step 0 shows a figure of 1,048,577 bytes"),
    "large figures": (f"{{shows: [{', '.join(['{generate: {size: 1MB}}'] * 13)}]}}", "it writes 18,175,"),
    "many files": (
        f"{{steps: [{{say: '', files: [{', '.join(f'{{path: f{n}, content: x}}' for n in range(1_000))}]}}, {{files: [{{path: g, content: x}}]}}]}}",
        "it writes more than 1,000 files",
    ),
    "a digest": ("{files: [{path: a, digest: x}]}", "a seed has no digest"),
    "many answers": ("{say: b}", "a world takes at most 1 answers"),
}


@pytest.mark.parametrize("case", INVALID_ANSWERS)
def test_invalid_answers_in_a_seed_are_rejected_with_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    rule, problem = INVALID_ANSWERS[case]
    if case == "many answers":
        monkeypatch.setattr("mockserver.seeds.answers.MAX_ANSWERS", 1)
    path = tmp_path / "seed.yaml"
    (tmp_path / "large.png").write_bytes(bytes(MAX_SHOWN + 1))
    for start, line in (("answers:", 4), ("worlds:\n  w:\n    answers:", 6)):
        path.write_text(f"version: 1\n{start}\n    - {{id: a, when: X, say: a}}\n    - {rule}\n")
        with pytest.raises(SeedError) as raised:
            read_seeds([path], 3 << 20)
        assert str(raised.value).startswith(f"{path}:{line}: ")
        assert problem in str(raised.value).replace("worlds.w.", "")


# Archives and upgrades


@pytest.mark.parametrize(
    "change",
    [{}, {"request": "{}"}, {"details": "{"}, {"given": "1"}, {"pace": 61.0}, {"background": 2}, {"unknown": 1}],
)
def test_an_invalid_response_in_an_archive_is_rejected(
    world: World, control: httpx2.Client, change: dict[str, Any]
) -> None:
    run(world, "hello", tools=[])
    document = export_document(control)
    response = document["responses"][0]
    response["object"] = {**response["object"], **change} if change else {}
    body = {"version": 1, "responses": [response]}
    assert "responses.0" in error_message(control.post("/import", json=body), 400, "invalid_seed")


def export_document(control: httpx2.Client) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(control.get("/export").content)) as archive:
        document: dict[str, Any] = json.loads(archive.read("seed.yaml"))
    return document


def test_an_import_without_replace_adds_new_responses_and_rejects_existing_ones(
    world: World, control: httpx2.Client
) -> None:
    response = run(world, "hello", tools=[])
    document = export_document(control)
    added = {"version": 1, "responses": document["responses"]}
    error_message(control.post("/import?replace=false", json=added), 409, "object_exists")
    ok(world.http.delete(f"/responses/{response['id']}"))
    ok(control.post("/import?replace=false", json=added))
    assert ok(world.http.get(f"/responses/{response['id']}")) == response
    later = run(world, "more", tools=[], previous_response_id=response["id"])
    assert later["id"] != response["id"]


def test_a_database_without_tables_of_responses_is_upgraded(tmp_path: Path) -> None:
    with MockServer(data=tmp_path) as server, World(server, "w") as world:
        box = world.openai.containers.create(name="old").id
        file = world.openai.containers.files.create(box, file=("a.txt", b"old")).id
    (path,) = tmp_path.glob("worlds/*-w/world.db")
    with closing(sqlite3.connect(path)) as database, database:
        views = database.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'view'").fetchall()
        for name, _ in views:
            database.execute(f"DROP VIEW {name}")
        for table in ("responses", "response_items", "uses", "answers", "answer_contents"):
            database.execute(f"DROP TABLE {table}")
        database.execute("DROP INDEX container_files_written")
        for table, columns in NEW_COLUMNS.items():
            for column in columns:
                database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for _, sql in views:
            database.execute(sql.replace(" UNION ALL SELECT digest FROM answer_contents", ""))
        database.execute("PRAGMA user_version=3")
    with MockServer(data=tmp_path) as server, World(server, "w") as world:
        assert world.openai.containers.retrieve(box).name == "old"
        assert world.openai.containers.files.content.retrieve(file, container_id=box).read() == b"old"
        tools = [{"type": "code_interpreter", "container": box}]
        response = run(world, "write a.csv", tools=tools, background=True)
        world.advance(10)
        assert len(ok(world.http.get(f"/containers/{box}/files"))["data"]) == 2
        assert ok(world.http.get(f"/responses/{response['id']}"))["status"] == "completed"
        assert ok(httpx2.get(f"{server.url}/_mock/worlds/w/answers")) == {"data": []}


def test_an_answer_with_an_error_is_counted_and_counts_for_answers_that_skip_requests(
    world: World, control: httpx2.Client
) -> None:
    ok(control.post("/answers", json={"id": "later", "skip": 1, "times": 1, "say": "late"}))
    ok(control.post("/answers", json={"id": "fails", "fail": "rate_limited"}))
    body = {"model": "gpt-5", "input": "hello"}
    error_message(world.http.post("/responses", json=body), 429, "rate_limit_exceeded")
    assert answer_counts(control) == [("later", False, 1, 0), ("fails", False, 1, 1)]
    assert ok(world.http.post("/responses", json=body))["output"][-1]["content"][0]["text"] == "late"
    assert answer_counts(control) == [("later", False, 2, 1), ("fails", False, 1, 1)]


def test_generated_contents_of_answers_are_limited_together(tmp_path: Path) -> None:
    files = [{"path": f"f{n}", "generate": {"size": 900, "pattern": "zeros"}} for n in range(3)]
    with MockServer(max_upload=1_000, max_import=2_000) as server:
        added, place = (f"{server.url}/_mock/worlds/w/{path}" for path in ("answers", "place"))
        for url, body in (
            (added, {"files": files}),
            (f"{added}?dry_run=true", {"files": files}),
            (added, [{"id": f"a{n}", "files": [file]} for n, file in enumerate(files)]),
            (place, {"answers": [{"files": files}]}),
        ):
            message = error_message(httpx2.post(url, json=body), 400, "invalid_seed")
            assert message == "body: its contents are 2,700 bytes, more than 2,000; raise --max-import"
        ok(httpx2.post(added, json={"files": files[:2]}))


def test_deleted_answers_do_not_stay_in_memory(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers._rule, "_limit", 4 << 20)
    url = f"{world.server.url}/_mock/worlds/large"
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(12):
            ok(httpx2.post(f"{url}/answers", json={"when": "never", "say": f"{n} " + "a" * 1_000_000}))
            ok(httpx2.delete(url))
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 12_000_000


def test_a_regular_expression_whose_program_is_too_large_is_rejected(control: httpx2.Client) -> None:
    for pattern in (r"/\p{L}{1,100}/", r"/(\p{L}{1,40}\d+){1,9}/"):
        response = control.post("/answers", json={"when": pattern, "say": "x"})
        assert "pattern too large" in error_message(response, 400, "invalid_parameter")


def test_a_regular_expression_with_very_many_states_matches(world: World, control: httpx2.Client) -> None:
    """The part before the last character has 2 to the power of 16 states, more than are kept."""
    letters = "".join("ab"[n * n % 7 % 2] for n in range(60_000)) + "a" + "b" * 15
    rules = [{"when": "/(a|b)*a(a|b){15}c$/", "say": "matched"}, {"say": "not matched"}]
    ok(control.post("/answers", json=rules))
    for end, said in (("c", "matched"), ("d", "not matched")):
        assert world.openai.responses.create(model="m", input=letters + end).output_text == said


def test_nullable_keys_of_an_answer_are_returned_as_sent(world: World, control: httpx2.Client) -> None:
    keys = [
        field.alias or name for name, field in NewAnswer.model_fields.items() if name != "id" and field.default is None
    ]
    assert {"steps", "output", "say", "phase"} <= set(keys)
    sent = dict.fromkeys(keys) | {"say": "This is all."}
    (shown,) = ok(control.post("/answers", json=sent))["data"]
    assert shown.items() >= sent.items()
    assert ok(control.get("/answers"))["data"] == [shown]


def test_the_size_of_a_full_cache_is_counted_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    drop = Cache._drop_half
    monkeypatch.setattr(Cache, "_drop_half", lambda cache, new: (counted.append(new), drop(cache, new)))
    cache = Cache(1_000, lambda text: (text, 10))
    assert [cache(str(number)) for number in range(1_000)] == [str(number) for number in range(1_000)]
    assert len(counted) <= 20
    assert cache("999") == "999"
    assert len(cache._values) <= 100


def test_a_rule_that_was_stored_before_it_became_invalid_can_be_read() -> None:
    rule = {"say": "x", "usage": {"input": 3}, "fail": "rate_limited"}
    with pytest.raises(ValueError, match="can never happen"):
        NewAnswer.model_validate(rule)
    assert NewAnswer.model_validate(rule, context=STORED).rejects == "rate_limited"
