"""The verdicts of worlds, for people and for other programs: JUnit XML, and annotations of GitHub workflows."""

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from mockserver.choices import unknown
from mockserver.cli.options import FAILED, complete, die, environment_option, findings
from mockserver.client import Control, MockError, path_to, query
from mockserver.control.models import Finding, Verdict

if TYPE_CHECKING:
    from mockserver.mock import Mock

Findings = Mapping[str, Sequence[Mapping[str, Any]]]
"""The findings of each world, by its name."""
UNUSABLE = "world_unusable"
"""The code of the error of a world that can't be used, and the name of the finding in place of its verdict."""

MAX_KEPT = 1_000
MAX_KEPT_BYTES = 1 << 20
"""Findings of deleted worlds that are kept, and about how many bytes of them; the others are counted."""

_WRITABLE = click.Path(dir_okay=False, path_type=Path)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _known(ctx: click.Context, param: click.Parameter, given: Sequence[str]) -> Sequence[str]:
    names = [name.strip() for each in given for name in each.split(",") if name.strip()]
    for name in names:
        if name not in (known := list(findings())):
            raise click.BadParameter(unknown("finding", name, known))
    return names


def _in_a_directory(ctx: click.Context, param: click.Parameter, file: Path | None) -> Path | None:
    """Before the command of `run` begins, and not when it has ended."""
    if file and not file.parent.is_dir():
        raise click.BadParameter(f"{file.parent} is not a directory; create it")
    return file


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of commands that report verdicts."""
    for option in (
        environment_option("github", "Print the findings as annotations of a GitHub workflow.", is_flag=True),
        environment_option(
            "junit",
            "Write the verdict to a file, as JUnit XML.",
            metavar="FILE",
            type=_WRITABLE,
            callback=_in_a_directory,
        ),
        environment_option(
            "ignore",
            "Findings to leave out, by their names.",
            multiple=True,
            metavar="FINDING,…",
            callback=_known,
            shell_complete=complete(findings, several=True),
        ),
    ):
        command = option(command)
    return command


def verdicts(control: Control, ignore: Sequence[str], worlds: Sequence[str] = ()) -> dict[str, Verdict]:
    """Return the verdict of each world, by its name: of those given, else of all. Of these, a world that can't be used
    has a finding that says so."""
    names = worlds or [each["name"] for each in control("GET", "worlds")["data"]]
    found: dict[str, Verdict] = {}
    for name in names:
        try:
            found[name] = control("GET", path_to("worlds", name, "verdict") + query(ignore=ignore))
        except MockError as error:
            if worlds or error.code != UNUSABLE:
                raise
            found[name] = Verdict(ok=False, findings=[Finding(name=UNUSABLE, message=error.reason, exchanges=[])])
    return found


class Deleted:
    """The findings of worlds that are deleted while a server runs: their journals go with them.

    A test that has a world of its own deletes it at its end, so that none is left to check when all have run.
    """

    def __init__(self, mock: "Mock", ignore: Sequence[str]) -> None:
        self._mock = mock
        self._ignore = ignore
        self._kept: list[tuple[str, Finding]] = []
        self._bytes = 0
        self.dropped = 0
        mock.worlds.leaving = self._check

    async def _check(self, world: str) -> None:
        """For the event loop, before a world is deleted. Its deletion never fails because of this."""
        from mockserver.control.routes.journal import judged

        if not self._mock.journal.count(world):
            return
        try:
            findings = (await judged(self._mock, world, self._ignore))["findings"]
        except Exception as error:
            findings = [Finding(name=UNUSABLE, message=str(error), exchanges=[])]
        for each in findings:
            if len(self._kept) < MAX_KEPT and self._bytes < MAX_KEPT_BYTES:
                self._kept.append((world, each))
                self._bytes += len(each["message"]) + 40 * len(each["exchanges"])
            else:
                self.dropped += 1

    def verdicts(self) -> dict[str, Verdict]:
        """Return the verdicts of deleted worlds with findings. Their names can't be those of present worlds."""
        found: dict[str, Verdict] = {}
        for world, each in self._kept.copy():
            found.setdefault(f"{world} (deleted)", Verdict(ok=False, findings=[]))["findings"].append(each)
        return found


def write(
    found: Mapping[str, Verdict], ignore: Sequence[str], file: Path | None, github: bool, to: IO[str] | None = None
) -> None:
    """Write verdicts for other programs: JUnit XML to a file, annotations to the standard output or to another."""
    by_world = {name: verdict["findings"] for name, verdict in found.items()}
    if file:
        try:
            file.write_bytes(junit(by_world, ignore))
        except OSError as error:
            die(f"can't write {file}: {error.strerror}; name another file with --junit", FAILED)
    if github:
        for line in annotations(by_world):
            print(line, file=to, flush=True)


def junit(found: Findings, ignored: Container[str]) -> bytes:
    """A test suite with a test case for each world and rule. A rule that is ignored is skipped."""
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    suites = Element("testsuites")
    suite = SubElement(suites, "testsuite", name="mockserver verdict")
    for world, listed in found.items():
        for rule in dict.fromkeys([*findings(), *(each["name"] for each in listed)]):
            case = SubElement(suite, "testcase", classname=f"mockserver.{world}", name=rule, time="0")
            lines = [_line(each) for each in listed if each["name"] == rule]
            if rule in ignored:
                SubElement(case, "skipped", message="ignored")
            elif lines:
                SubElement(case, "failure", message=lines[0], type=rule).text = "\n".join(lines)
    for name, kind in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
        suite.set(name, str(sum(1 for _ in suite.iter(kind))))
    suite.set("errors", "0")
    indent(suites)
    return bytes(tostring(suites, "utf-8", xml_declaration=True)) + b"\n"


def annotations(found: Findings) -> Iterator[str]:
    """Lines that GitHub shows as warnings of the workflow's run."""
    for world, listed in found.items():
        for each in listed:
            title = _for_github(f"mockserver: {each['name']}").replace(":", "%3A").replace(",", "%2C")
            yield f"::warning title={title}::{_for_github(f'world {world}: {_line(each)}')}"


def _line(finding: Mapping[str, Any]) -> str:
    """A message may quote what a client sent: control characters are escaped."""
    proof = ", ".join(f"#{number}" for number in finding["exchanges"])
    text = f"{finding['message']} [{proof}]" if proof else finding["message"]
    return _NOT_XML.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _for_github(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
