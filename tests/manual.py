"""Parse the manual (README and pages of `docs/`) for tests: code blocks, tables, headings and links."""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w./-]+\.\w+)`:\n\n\Z")
"""The end of the text before a block that shows a whole file."""


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int
    file: str | None
    """The file name that the reader saves it under, if the sentence before the block names one."""
    output: str | None
    """The expected output: the text or JSON block directly after it."""


def page_blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    fences = list(_FENCE.finditer(text))
    blocks = []
    for match, following in zip(fences, [*fences[1:], None], strict=False):
        output = None
        if following and following[1] in ("text", "json") and not text[match.end() : following.start()].strip():
            output = following[2]
        named = _FILE.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 1
        blocks.append(Block(match[1], match[2], line, named and named[1], output))
    return blocks


def rows(text: str, first: str) -> list[list[str]]:
    """Return the cells of the table whose first heading is `first`."""
    lines = text.split(f"| {first} |", 1)[1].splitlines()[2:]
    table = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


def tried(attack: str) -> int:
    """Return the number of attacks of a kind in the manual; the kind is the beginning of a row."""
    table = rows((DOCS / "internals" / "robustness.md").read_text(encoding="utf-8"), "attack")
    counts = [count for kind, count in table if kind.startswith(attack)]
    assert len(counts) == 1, f"{len(counts)} rows begin with {attack!r}"
    return int(counts[0].replace(",", ""))


def matches(pattern: str, text: str) -> bool:
    """Return whether the text equals the pattern, in which … matches any text within a line."""
    return re.fullmatch(re.escape(pattern.strip()).replace("…", "[^\n]*?"), text.strip()) is not None


def anchors(text: str) -> set[str]:
    """Return the anchors of all headings, as GitHub derives them."""
    found, seen = set(), Counter[str]()
    for title in re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(text: str) -> list[str]:
    """Return the targets of links and images, in Markdown and HTML."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:href|src|srcset)="([^"]+)"', prose)
