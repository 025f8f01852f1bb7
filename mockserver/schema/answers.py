"""The format of answers: scripts of what `/responses` does, and for which requests.

Data only: no code is ever run. A rule is checked completely when it is loaded.
"""

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, unquote

import re2
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from mockserver.caches import Cache
from mockserver.choices import NAME
from mockserver.schema.responses import whole_item
from mockserver.schema.values import STORED, Count, ErrorName, FileName, Part, Seconds, Times, WithContent

ROOT = "/mnt/data"
LINK = re2.compile(
    r"!?\[[^\]\n]*\]\([ \t]*"
    r"(?:(sandbox:(/mnt/data/(?:[^()\s]|\([^()\s]*\))+))|<(sandbox:(/mnt/data/[^<>\n]+))>)"
    r"""(?:[ \t]+(?:"[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*\)"""
)
"""A Markdown link or image to a file of the container, possibly in angle brackets or with a title. Of its groups two
match: what is cited, and the path. RE2, as a text can have any number of open brackets."""
MAX_SHOWN = 1 << 20
"""Bytes of a displayed figure: each is in the response as a data URL."""
MAX_WRITTEN = 1_000
"""Files that an answer writes and shows."""
MAX_OUTPUT = 16 << 20
"""Characters of what an answer's items show, with its figures. Placeholders can add as much."""
MAX_STEPS = 200
MAX_TEXT = 1 << 20
MAX_PACE = 60.0
MAX_SEARCH = 4_000_000
"""Characters of a text times instructions of a regular expression: a quarter of a second at the worst."""
MAX_PATTERN = 512 * 1024
"""Bytes of a compiled pattern with the states that it keeps. RE2 searches without them if they are too many, and rejects
larger patterns."""

_BRACKETS = re.compile(r"[\[\]\n]")
_ESCAPED = re.compile(r"[\s()%]")
_PATTERN = re.compile(r"/(.+)/([ims]*)", re.DOTALL)


def _compiled(text: str) -> tuple[tuple[Any, int | None], int]:
    """Compile `/…/flags`, or a text that is found in any case; and how much it can search in a short time. RE2 takes
    linear time for every input. The size includes the states that it keeps of its searches."""
    match = _PATTERN.fullmatch(text)
    expression, flags = match.groups() if match else (text, "i")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN
    options.literal = match is None
    options.case_sensitive = "i" not in flags
    inline = "".join(flag for flag in "ms" if flag in flags)
    try:
        compiled = re2.compile(f"(?{inline}){expression}" if inline else expression, options=options)
    except re2.error as error:
        problem = str(error.args[0].decode() if isinstance(error.args[0], bytes) else error)
        raise ValueError(f"{text[:80]!r} is not a regular expression of RE2 ({problem})") from None
    states = MAX_PATTERN // 3 if match else min(MAX_PATTERN // 3, 16_000 + 150 * len(text))
    size = 32 * compiled.programsize + states
    return (compiled, MAX_SEARCH // compiled.programsize if match else None), size


pattern = Cache(32 << 20, _compiled)
"""The compiled patterns that were used last: a hundred hard ones, or a thousand others."""


def fits(wanted: str, text: str) -> bool:
    """Whether a pattern is found. Of a long text a regular expression sees as much as it can search in a short time."""
    compiled, limit = pattern(wanted)
    return bool(compiled.search(text[:limit]))


def _pattern(text: str) -> str:
    pattern(text)
    return text


def container_path(text: str) -> str:
    """Return a path below /mnt/data. Raises ValueError for one that leads out of it."""
    path = posixpath.normpath(posixpath.join(ROOT, text))
    if not path.startswith(f"{ROOT}/") or "\0" in text:
        raise ValueError(f"{text[:80]!r} is outside of {ROOT}; give a path below it, such as report.csv")
    return path


Text = Annotated[str, Field(max_length=MAX_TEXT)]
Pattern = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_pattern)]


class When(Part):
    """Which requests an answer is for: those that meet all conditions."""

    text: Pattern | None = None
    """In the last user message: a part of it in any case, or `/…/`, a regular expression."""
    instructions: Pattern | None = None
    """In the instructions, likewise."""
    model: Pattern | None = None
    """In the name of the model, likewise."""
    tool: Literal["code_interpreter", "shell", "none"] | None = None
    """What the request allows."""
    container: str | None = None
    """Id or name of the container."""
    file: str | None = None
    """Name of a file in the container or the input."""
    turn: Annotated[int, Field(ge=1)] | None = None
    """1 for the first turn of a conversation, 2 for the second."""
    continues: str | None = None
    """Id of an answer that was used before in this conversation."""
    metadata: dict[str, str] | None = None
    """Pairs of the request's metadata."""
    background: bool | None = None
    """Whether it runs in the background."""
    stream: bool | None = None
    """Whether it is streamed."""


class Figure(WithContent):
    """A figure that a step displays."""

    digest: str | None = None
    """SHA-256 of the content, which with `size` takes the place of its bytes once it is stored."""
    size: Count | None = None

    def has_other_source(self) -> bool:
        return self.digest is not None

    def length(self) -> int:
        return super().length() if self.size is None else self.size


class WrittenFile(Figure):
    """A file that a step writes or deletes."""

    path: Annotated[FileName, AfterValidator(container_path)]
    """Path of the file, relative to `/mnt/data`."""
    bytes: Count | None = None
    """The size that the API shows; by default null."""
    delete: bool = False
    """Delete the file instead."""

    def has_other_source(self) -> bool:
        return self.delete or self.digest is not None


class Fail(Part):
    """How a run fails. At the top of a rule, `error` is the response's; in a step the run ends there."""

    error: ErrorName | None = None
    """Name of an error."""
    incomplete: Literal["max_output_tokens", "content_filter"] | None = None
    """The response is incomplete, for this reason."""
    wedge: bool = False
    """Each later call in the container fails."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.error is not None) + (self.incomplete is not None) + self.wedge != 1:
            raise ValueError("give one of error, incomplete, wedge")
        return self


def _fail(value: object) -> object:
    return {"error": value} if isinstance(value, str) else value


class Step(Part):
    """A call, or what the assistant says, or both in this order."""

    code: Text | None = None
    """Code that the call shows. It is not run."""
    commands: Annotated[list[Text], Field(max_length=100)] | None = None
    """Commands of a shell call."""
    logs: Text | None = None
    """What is printed."""
    value: Text | None = None
    """The value of the last expression."""
    raises: Text | None = None
    """An exception: the call has no outputs then."""
    exit: int | None = None
    """Exit code of a shell call."""
    stderr: Text | None = None
    """What a shell call prints as errors."""
    timeout: bool = False
    """Whether a shell call times out."""
    files: Annotated[list[WrittenFile], Field(max_length=MAX_WRITTEN, fail_fast=True)] = []
    """Files that it writes or deletes."""
    shows: Annotated[list[Figure], Field(max_length=20, fail_fast=True)] = []
    """Figures that it displays."""
    takes: Annotated[Seconds, Field(le=3.2e8)] = 0.0
    """How long it takes, by the world's clock."""
    say: Text | None = None
    """What the assistant says. `{links}`, `{text}`, `{files}` and `{container}` are filled in."""
    cite: bool = True
    """Whether links to files of the container are cited."""
    phase: Literal["commentary", "final_answer"] | None = None
    """`phase` of the message, which newer models have; by default none."""
    reasoning: bool | Text = False
    """`true` or a summary: an item before the call or the text."""
    fail: Annotated[Fail, BeforeValidator(_fail, json_schema_input_type=Fail | str)] | None = None
    """How the run fails; a text is the name of an error."""

    @property
    def calls(self) -> bool:
        given = (self.code, self.commands, self.logs, self.value, self.raises, self.exit, self.stderr)
        return any(each is not None for each in given) or bool(self.timeout or self.files or self.shows)


_STEP = frozenset(Step.model_fields)
_OF_A_RUN = (_STEP | {"steps", "usage", "pace"}) - {"fail"}
"""What says nothing where there is no run. (`output` excludes `fail` in any case.)"""


class Tokens(Part):
    """Tokens that the response shows."""

    input: Count | None = None
    """Tokens of the input."""
    cached: Count | None = None
    """Of these, tokens that were cached; by default 0."""
    output: Count | None = None
    """Tokens of the output."""
    reasoning: Count | None = None
    """Of these, tokens of reasoning; by default 0."""


def _when(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


class NewAnswer(Step):
    """A rule: for which requests, how often, and what the run does. The keys of a single step may stand at its top."""

    id: Annotated[str, Field(pattern=rf"^{NAME}$")] | None = None
    """Name of the answer; made by the server unless given."""
    when: Annotated[When, BeforeValidator(_when, json_schema_input_type=When | str)] = When()
    """Which requests it is for; a text is a part of the last user message. By default all."""
    skip: Count = 0
    """How many matching requests to pass first."""
    times: Times | None = None
    """How often to use it; by default always."""
    steps: Annotated[list[Step], Field(min_length=1, max_length=MAX_STEPS, fail_fast=True)] | None = None
    """What the run does, in order. The keys of a single step can stand in the answer itself."""
    usage: Tokens | None = None
    """Tokens that the response shows; by default a quarter of the characters."""
    output: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_STEPS)] | None = None
    """Raw items instead of steps."""
    pace: Annotated[Seconds, Field(le=MAX_PACE)] = 0.0
    """Real time between the events of a stream."""

    @model_validator(mode="after")
    def _is_whole(self, info: ValidationInfo) -> Self:
        own = self.model_fields_set & _STEP
        if info.context != STORED and self.rejects and (never := sorted(self.model_fields_set & _OF_A_RUN)):
            raise ValueError(
                f"fail at the top rejects the request, and {' and '.join(never)} can never happen; for a run that ends with "
                f"the error write it in a step: {{steps: [{{say: …}}, {{fail: {self.rejects}}}]}}"
            )
        if self.steps is not None and own - {"fail"}:
            raise ValueError(f"give either steps or {' and '.join(sorted(own - {'fail'}))}")
        if self.output is not None and (own or self.steps is not None):
            raise ValueError("give either output or steps, not both")
        if self.output is None and self.steps is None and not own:
            raise ValueError("say what the run does: give steps, output, or the keys of a step (say, code, files, …)")
        if self.steps is not None and self.fail is not None:
            raise ValueError("fail at the top takes an error; write incomplete and wedge in a step")
        for number, item in enumerate(self.output or ()):
            try:
                whole_item(item)
            except ValueError as error:
                raise ValueError(f"output {number}: {error}") from None
        self.check_output()
        written: set[str] = set()
        writes = {file.path for step in self.each_step for file in step.files if not file.delete}
        for number, step in enumerate(self.each_step):
            if not step.calls and step.say is None and step.fail is None:
                raise ValueError(f"step {number} does nothing; give it code, commands, files, shows, say or fail")
            written.update(file.path for file in step.files)
            for path, _ in links(step.say or ""):
                if path in writes and path not in written:
                    raise ValueError(f"step {number} links to {path}, which only a later step writes")
        return self

    def check_output(self, length_of: Callable[[Figure], int] = Figure.length) -> None:
        """Raises ValueError if the run would write too much. `length_of` knows the lengths of files, too."""
        size = len(json.dumps(self.output)) if self.output else 0
        for number, step in enumerate(self.each_step):
            texts = (step.code, step.logs, step.value, step.raises, step.stderr, step.say, *(step.commands or ()))
            size += sum(len(text or "") for text in texts)
            for figure in step.shows:
                if (length := length_of(figure)) > MAX_SHOWN:
                    raise ValueError(
                        f"step {number} shows a figure of {length:,} bytes; at most {MAX_SHOWN:,} are allowed"
                    )
                size += length * 4 // 3
        if size > MAX_OUTPUT:
            raise ValueError(f"it writes {size:,} characters; at most {MAX_OUTPUT:,} are allowed, figures included")
        if sum(1 for _ in self.figures()) > MAX_WRITTEN:
            raise ValueError(f"it writes more than {MAX_WRITTEN:,} files")

    @cached_property
    def each_step(self) -> list[Step]:
        """The steps, however they were written."""
        if self.steps is not None or self.output is not None:
            return self.steps or []
        return [Step.model_construct(**{name: getattr(self, name) for name in _STEP})]

    @cached_property
    def calls_a_tool(self) -> bool:
        """Whether it needs a container, which the request has to allow."""
        raw = (item for item in self.output or () if item.get("type") == "code_interpreter_call")
        return any(step.calls for step in self.each_step) or any("container_id" not in item for item in raw)

    @property
    def rejects(self) -> str | None:
        """The name of the error that is returned instead of a run."""
        return self.fail.error if self.fail else None

    def figures(self) -> Iterator[Figure]:
        """All that has bytes."""
        for step in self.each_step:
            yield from (file for file in step.files if not file.delete)
            yield from step.shows


def links(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """The paths that a text links to, and where each stands. Some characters of a path can be escaped, as in a URL."""
    for match in LINK.finditer(text):
        group = 1 if match[1] else 3
        yield unquote(match[group + 1]), match.span(group)


def link(path: str) -> str:
    """A Markdown link to a file of the container, which `links` finds."""
    name, escaped = _BRACKETS.sub("", path.rpartition("/")[2]), _ESCAPED.sub(lambda found: quote(found[0]), path)
    return f"[{name}](sandbox:{escaped})"
