"""Starts that fail: one line on the standard error and the exit code of its kind, never a traceback."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import CLEAN, run

pytestmark = pytest.mark.slow  # starts processes

Prepare = Callable[[Path], list[str]]


def made(path: Path, content: str | bytes = "version: 1\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def folder(path: Path) -> str:
    path.mkdir(parents=True)
    return str(path)


def linked(path: Path, target: str) -> str:
    path.symlink_to(target)
    return str(path)


FAILURES: dict[str, tuple[int, str, Prepare]] = {
    "data is a file": (5, "{}/data can't be created as a data", lambda at: ["--data", made(at / "data")]),
    "data is below a file": (5, "Not a directory", lambda at: ["--data", f"{made(at / 'file')}/data"]),
    "data is a link to nothing": (5, "{}/data can't be", lambda at: ["--data", linked(at / "data", "/nowhere/at/all")]),
    "data can't be there": (5, "/proc/none can't be created", lambda at: ["--data", "/proc/none"]),
    "seed is missing": (4, "{}/none.yaml", lambda at: ["--seed", str(at / "none.yaml")]),
    "seed has another suffix": (4, "rename it", lambda at: ["--seed", made(at / "seed.txt")]),
    "seed is a link to itself": (4, "{}/a.yaml", lambda at: ["--seed", linked(at / "a.yaml", "a.yaml")]),
    "seed can't be read": (4, "{}/a.yaml", lambda at: ["--seed", linked(at / "a.yaml", "/proc/self/mem")]),
    "seed is binary": (4, "{}/a.yaml", lambda at: ["--seed", made(at / "a.yaml", b"\xff\xfe\x00")]),
    "seed names a folder": (
        4,
        "there is no file 'data'",
        lambda at: [
            "--seed",
            made(at / "a.yaml", "version: 1\nfiles: [{from: data, filename: x}]\n"),
            *filter(None, [folder(at / "data") and ""]),
        ],
    ),
    "archive is none": (4, "{}/a.zip", lambda at: ["--seed", made(at / "a.zip")]),
    "archive is a folder": (4, "{}/a.zip", lambda at: ["--seed", folder(at / "a.zip")]),
    "certificate is a folder": (
        2,
        "{}/tls can't be read",
        lambda at: ["--tls-cert", folder(at / "tls"), "--tls-key", made(at / "key.pem")],
    ),
    "certificate is missing": (
        2,
        "No such file",
        lambda at: ["--tls-cert", str(at / "none.pem"), "--tls-key", made(at / "key.pem")],
    ),
}


FOR_SERVE = list(FAILURES)[::2]
"""`serve` and `run` start a server in the same way, so each is tried with half of them."""


@pytest.mark.parametrize("failure", FAILURES)
def test_a_start_that_fails_is_one_line_with_its_exit_code(failure: str, tmp_path: Path) -> None:
    code, words, prepare = FAILURES[failure]
    arguments = prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    command = ["serve", "--port", "0", *arguments] if failure in FOR_SERVE else ["run", *arguments, "--", "true"]
    done = run(*command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
    assert done.stderr.startswith("mockserver: ")
    assert words.format(tmp_path) in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


OTHERS = {
    "a project": ["package.json", "src/index.js"],
    "a folder of uploads": ["uploads/photo.jpg"],
    "a game's": ["worlds/1-first/level.dat", "lock/x"],
    "a package manager's": ["lock", "status"],
}


@pytest.mark.parametrize("kind", OTHERS)
def test_the_directory_of_another_program_is_left_untouched(kind: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in OTHERS[kind]:
        made(data / name)
    before = {path: path.stat().st_mtime_ns for path in [data, *data.rglob("*")]}
    done = run("serve", "--port", "0", "--data", str(data))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (5, "", 1)
    assert f"{data} contains files of another program" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in [data, *data.rglob("*")]} == before


def test_what_file_systems_and_tools_leave_is_no_other_program(tmp_path: Path) -> None:
    for name in (".gitkeep", ".DS_Store", "lost+found/x"):
        made(tmp_path / "data" / name)
    for _ in range(2):
        done = run("run", "--data", str(tmp_path / "data"), "--", "true")
        assert (done.returncode, done.stderr) == (0, "")


def test_a_machine_without_a_temporary_directory_is_exit_code_5() -> None:
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


def test_a_taken_port_is_exit_code_3_of_run_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("run", "--port", str(taken.getsockname()[1]), "--", "echo", "started")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)


@pytest.mark.parametrize("arguments", [["verdict", "--junit"], ["run", "--junit", "--", "true"]])
def test_a_folder_in_place_of_a_report_is_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    place = arguments.index("--junit") + 1
    done = run(*arguments[:place], str(tmp_path), *arguments[place:])
    assert done.returncode == 2
    assert "is a directory" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
@pytest.mark.parametrize("allowed", [10, 14, 31])
def test_a_process_that_may_open_few_files_is_told_to_raise_that(allowed: int) -> None:
    shell = f'ulimit -n {allowed}; exec "$0" -m mockserver serve --port 0'
    done = subprocess.run(["sh", "-c", shell, sys.executable], capture_output=True, text=True, env=CLEAN)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"mockserver: this process may open {allowed} files, and a server needs 32; raise it: ulimit -n 1024\n"
    )
