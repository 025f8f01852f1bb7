"""What a verdict found, as other programs read it: JUnit XML, and annotations of GitHub workflows."""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from mockserver.verdict import FINDINGS

Findings = Mapping[str, Sequence[Mapping[str, Any]]]
"""The findings of each world, by its name."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(found: Findings, ignored: Container[str]) -> bytes:
    """A test suite with a test case for each world and rule. A rule that is ignored is skipped."""
    suites = Element("testsuites")
    suite = SubElement(suites, "testsuite", name="mockserver verdict")
    for world, findings in found.items():
        for rule in FINDINGS:
            case = SubElement(suite, "testcase", classname=f"mockserver.{world}", name=rule, time="0")
            lines = [_line(each) for each in findings if each["name"] == rule]
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
    for world, findings in found.items():
        for each in findings:
            title = _for_github(f"mockserver: {each['name']}").replace(":", "%3A").replace(",", "%2C")
            yield f"::warning title={title}::{_for_github(f'world {world}: {_line(each)}')}"


def _line(finding: Mapping[str, Any]) -> str:
    """A message may quote what a client sent: control characters are escaped."""
    text = f"{finding['message']} [{', '.join(f'#{number}' for number in finding['exchanges'])}]"
    return _NOT_XML.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _for_github(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
