"""The manual as tests read it: the README and the pages of `docs/`, with their blocks, tables, headings and links."""

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
"""What the text before a block ends with if the block shows a whole file."""


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int
    file: str | None
    """The name under which the reader saves it, if the sentence before it names a file."""
    output: str | None
    """What it prints: the block of text or JSON directly after it."""


def page_blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    blocks = []
    for match, following in zip(found, [*found[1:], None], strict=False):
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
    """Return how many attacks of a kind the manual counts. The kind is the beginning of its row."""
    table = rows((DOCS / "internals" / "robustness.md").read_text(encoding="utf-8"), "attack")
    found = [count for kind, count in table if kind.startswith(attack)]
    assert len(found) == 1, f"{attack!r} begins {len(found)} rows"
    return int(found[0].replace(",", ""))


def matches(pattern: str, text: str) -> bool:
    """Whether the text is equal to the pattern, in which … matches any text within a line."""
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
    """Return the targets of links and pictures, in Markdown and in HTML."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:href|src|srcset)="([^"]+)"', prose)
