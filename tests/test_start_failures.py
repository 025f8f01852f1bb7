"""Failed starts: each prints one line on standard error and exits with the code of its kind, without a traceback."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import CLEAN, run

pytestmark = pytest.mark.slow  # starts processes

Prepare = Callable[[Path], list[str]]


def write_file(path: Path, content: str | bytes = "version: 1\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def make_folder(path: Path) -> str:
    path.mkdir(parents=True)
    return str(path)


def make_link(path: Path, target: str) -> str:
    path.symlink_to(target)
    return str(path)


FAILURES: dict[str, tuple[int, str, Prepare]] = {
    "data is a file": (5, "{}/data can't be created as a data", lambda at: ["--data", write_file(at / "data")]),
    "data is inside a file": (5, "Not a directory", lambda at: ["--data", f"{write_file(at / 'file')}/data"]),
    "data is a dangling link": (
        5,
        "{}/data can't be",
        lambda at: ["--data", make_link(at / "data", "/nowhere/at/all")],
    ),
    "data is in a read-only file system": (5, "/proc/none can't be created", lambda at: ["--data", "/proc/none"]),
    "seed is missing": (4, "{}/none.yaml", lambda at: ["--seed", str(at / "none.yaml")]),
    "seed has another suffix": (4, "rename it", lambda at: ["--seed", write_file(at / "seed.txt")]),
    "seed is a link to itself": (4, "{}/a.yaml", lambda at: ["--seed", make_link(at / "a.yaml", "a.yaml")]),
    "seed can't be read": (4, "{}/a.yaml", lambda at: ["--seed", make_link(at / "a.yaml", "/proc/self/mem")]),
    "seed is binary": (4, "{}/a.yaml", lambda at: ["--seed", write_file(at / "a.yaml", b"\xff\xfe\x00")]),
    "seed refers to a folder": (
        4,
        "there is no file 'data'",
        lambda at: [
            "--seed",
            write_file(at / "a.yaml", "version: 1\nfiles: [{from: data, filename: x}]\n"),
            *filter(None, [make_folder(at / "data") and ""]),
        ],
    ),
    "archive is not a zip": (4, "{}/a.zip", lambda at: ["--seed", write_file(at / "a.zip")]),
    "archive is a folder": (4, "{}/a.zip", lambda at: ["--seed", make_folder(at / "a.zip")]),
    "certificate is a folder": (
        2,
        "{}/tls can't be read",
        lambda at: ["--tls-cert", make_folder(at / "tls"), "--tls-key", write_file(at / "key.pem")],
    ),
    "certificate is missing": (
        2,
        "No such file",
        lambda at: ["--tls-cert", str(at / "none.pem"), "--tls-key", write_file(at / "key.pem")],
    ),
}


TESTED_WITH_SERVE = list(FAILURES)[::2]
"""`serve` and `run` start a server in the same way, so each is tested with half of the failures."""


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_start_prints_one_line_and_exits_with_its_code(failure: str, tmp_path: Path) -> None:
    code, message, prepare = FAILURES[failure]
    arguments = prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    command = (
        ["serve", "--port", "0", *arguments] if failure in TESTED_WITH_SERVE else ["run", *arguments, "--", "true"]
    )
    done = run(*command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
    assert done.stderr.startswith("mockserver: ")
    assert message.format(tmp_path) in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


OTHER_PROGRAMS = {
    "project": ["package.json", "src/index.js"],
    "folder of uploads": ["uploads/photo.jpg"],
    "game": ["worlds/1-first/level.dat", "lock/x"],
    "package manager": ["lock", "status"],
}


@pytest.mark.parametrize("kind", OTHER_PROGRAMS)
def test_a_directory_of_another_program_is_rejected_and_left_unchanged(kind: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in OTHER_PROGRAMS[kind]:
        write_file(data / name)
    before = {path: path.stat().st_mtime_ns for path in [data, *data.rglob("*")]}
    done = run("serve", "--port", "0", "--data", str(data))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (5, "", 1)
    assert f"{data} contains files of another program" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in [data, *data.rglob("*")]} == before


@pytest.mark.parametrize("part", ["uploads", "worlds"])
def test_a_data_directory_with_a_symbolic_link_inside_is_rejected_and_left_unchanged(part: str, tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    assert run("run", "--data", str(data), "--", "true").returncode == 0
    (data / part).rename(elsewhere)
    photo = Path(write_file(elsewhere / "1-photo" / "a.jpg"))
    (data / part).symlink_to(elsewhere)
    done = run("serve", "--port", "0", "--data", str(data))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (5, "", 1)
    assert f"{data / part} is a symbolic link" in done.stderr
    assert photo.exists()


def test_files_of_file_systems_and_tools_are_ignored_in_a_data_directory(tmp_path: Path) -> None:
    for name in (".gitkeep", ".DS_Store", "lost+found/x"):
        write_file(tmp_path / "data" / name)
    for _ in range(2):
        done = run("run", "--data", str(tmp_path / "data"), "--", "true")
        assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_temporary_directory_exits_with_5() -> None:
    program = (
        "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/proc/none']\n"
        "from mockserver.cli.main import main; main()"
    )
    for arguments in (["serve", "--port", "0"], ["run", "--", "true"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], env=CLEAN, capture_output=True, text=True, timeout=300
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (5, "", 1), done.stderr
        assert "TMPDIR" in done.stderr
        assert "--data" in done.stderr


def test_run_on_a_port_in_use_exits_with_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("run", "--port", str(taken.getsockname()[1]), "--", "echo", "started")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)


@pytest.mark.parametrize("arguments", [["verdict", "--junit"], ["run", "--junit", "--", "true"]])
def test_a_report_path_that_is_a_directory_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    position = arguments.index("--junit") + 1
    done = run(*arguments[:position], str(tmp_path), *arguments[position:])
    assert done.returncode == 2
    assert "is a directory" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("limit", [10, 14, 31])
def test_a_too_low_file_limit_exits_with_3_and_names_the_remedy(limit: int) -> None:
    shell = f'ulimit -n {limit}; exec "$0" -m mockserver serve --port 0'
    done = subprocess.run(["sh", "-c", shell, sys.executable], capture_output=True, text=True, env=CLEAN)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"mockserver: this process may open {limit} files, and a server needs 32; raise it: ulimit -n 1024\n"
    )
