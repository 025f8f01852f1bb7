"""A run: what a response does, step by step, planned completely and written in one transaction.

Steps come from an answer or from `unscripted`. Each becomes items of the output, files in the container, and activity
of it. A run in the background is written ahead. What it will have done by an instant of the world's clock is a function
of the rows: items carry the instant from which they are shown, files those between which they are, and `uses` the ends
of steps, which are activity.
"""

import base64
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mockserver import containers, errors, expiry, ids, inputs
from mockserver.context import Context
from mockserver.errors import APIError
from mockserver.samples import sample
from mockserver.schema.answers import MAX_OUTPUT, MAX_TEXT, Fail, Figure, Step, WrittenFile, link, links
from mockserver.schema.responses import CODE, ENCRYPTED, SHELL, CreateResponse, Item, whole_item
from mockserver.storage import tables
from mockserver.storage.contents import Upload, Uploads
from mockserver.storage.database import Statement, Transaction
from mockserver.tools import Tool, remove_unused
from mockserver.transcript import PREFIXES, Transcript

LOCAL_LIMITS = {"max_output_length": 12_000, "timeout_ms": 10_000}
"""Of a local shell call (seen)."""
MAX_INPUTS = 1_000
"""Files of the input that are put into containers."""
MAX_CARRIED = 200
"""Items with files that a chain knows, the newest ones."""
MAX_CITED = 1_000
"""Links of a message that are looked for in the container."""
_PLACEHOLDER = re.compile(r"(\{(?:links|text|files|container)\})")
LISTING = "import os\nprint(os.listdir('/mnt/data'))"

_add_use = Statement("INSERT OR IGNORE INTO uses VALUES (:container_id, :at, :response_id)")
_used = Statement("SELECT DISTINCT container_id FROM uses WHERE response_id = :response_id AND at > :now")
_cancel_uses = Statement("DELETE FROM uses WHERE response_id = :response_id AND at > :now")
_use_until = Statement("UPDATE containers SET used_until = max(coalesce(used_until, 0), :until) WHERE id = :id")
_wedge = Statement("UPDATE containers SET wedged = 1 WHERE id = :id")
_find_path = Statement(f"{containers.FILES} AND path = :path ORDER BY seq DESC", tables.ContainerFile)
_paths = Statement(f"{containers.FILES} ORDER BY created_at, seq".replace("*", "path", 1))
_hide = Statement(
    "UPDATE container_files SET visible_until = :at, hidden_by = :by WHERE container_id = :container_id AND id = :id"
)
_ahead = Statement("SELECT digest FROM live_container_files WHERE response_id = :response_id AND visible_from > :now")
_delete_ahead = Statement("DELETE FROM container_files WHERE response_id = :response_id AND visible_from > :now")
"""Their rows too: no list showed them, so none may show them as deleted lately."""
_show_again = Statement(
    "UPDATE container_files SET visible_until = NULL, hidden_by = NULL "
    "WHERE container_id = :container_id AND hidden_by = :by AND visible_until > :now"
)


@dataclass(slots=True)
class Run:
    """A run on its way. Times are seconds after the response's creation."""

    context: Context
    tx: Transaction
    body: CreateResponse
    before: Transcript
    tools: list[Tool]
    """Those that it may call."""
    declared: Collection[Tool]
    keep: Mapping[str, Upload] = field(default_factory=dict)
    """Contents that are not in the world yet, by digest."""
    items: list[tuple[Item, int]] = field(default_factory=list)
    """With the time when each is complete."""
    ends: dict[str, list[int]] = field(default_factory=dict)
    """By container: when each call in it ends."""
    at: float = 0.0
    error: APIError | None = None
    incomplete: str | None = None
    containers: dict[str, str | None] = field(default_factory=dict)
    """By kind of tool: the container of the last call."""
    _filled_in: int = 0
    """Characters of texts with placeholders so far."""
    _written: list[str] = field(default_factory=list)
    _figures: list[Item] = field(default_factory=list)
    """Citations of displayed figures, for the next message."""

    @property
    def background(self) -> bool:
        return bool(self.body.background)

    @property
    def now(self) -> int:
        return self.context.world.now()

    @property
    def instant(self) -> int:
        return self.now + int(self.at)

    @property
    def used(self) -> list[tables.Container]:
        """The containers of its tools, which may be one."""
        return [tool.container for tool in self.tools if tool.container]

    @property
    def status(self) -> str:
        return "failed" if self.error else "incomplete" if self.incomplete else "completed"

    def add_inputs(self, uploads: Uploads) -> None:
        """Put the files of the input into the containers of all declared tools, and into new ones also those of earlier
        turns."""
        used = {tool.container.id: tool for tool in self.declared if tool.container}
        count = len(used) * len(self.before.files)
        if count > MAX_INPUTS:
            raise errors.BODY_HOLDS_TOO_MUCH(
                problem=f"its input has {count:,} files for its containers, more than {MAX_INPUTS:,}"
            )
        carried, left = self.before.carried, MAX_INPUTS - count
        for id, tool in used.items():
            missing = carried.files[carried.placed.get(id, 0) if tool.continues else 0 :]
            places = [each for each in missing if each[0] != self.before.next_id]
            files = [*inputs.earlier(self.context, self.tx, places, left // len(used)), *self.before.files]
            self.context.expect(len(files) * inputs.FILE_COSTS + sum(len(file.content) for file in files))
            inputs.Placing(self.context, self.tx, uploads, id, bool(tool.created)).put(files)
        placed = {id: carried.placed.get(id, 0) for id in self.before.containers.values() if id}
        placed |= dict.fromkeys(used, len(carried.files))
        surplus = max(0, len(carried.files) - MAX_CARRIED)
        del carried.files[:surplus]
        carried.placed = {id: max(0, count - surplus) for id, count in placed.items()}

    def paths(self, container: tables.Container) -> list[str]:
        """Of the files in a container."""
        containers.expect_files(self.context, self.tx, container.id)
        return [path for (path,) in _paths.tuples(self.tx, container_id=container.id, now=self.instant)]

    def take(self, steps: list[Step]) -> None:
        for step in steps:
            self.at += step.takes
            if step.reasoning is not False:
                self._reason(step.reasoning)
            if step.calls:
                tool = self._tool(step)
                if self._dies(tool) or self._call(step, tool):
                    break
            if step.say is not None:
                self._say(step)
            if step.fail and self._fail(step.fail, self._tool(step)):
                break
        self._finish()

    def add_raw(self, raw: list[Item]) -> None:
        """Items that a script gives as they are; ids and containers are filled in where they are absent."""
        used = {tool.kind: tool.container for tool in self.tools if tool.container}
        called = None
        for given in raw:
            item = whole_item(given)
            kind: str = item["type"]
            item["id"] = item["id"] or self._id(PREFIXES.get(kind, kind))
            if kind == "code_interpreter_call":
                if container := used.get(CODE, used.get(SHELL)):
                    item["container_id"] = item["container_id"] or container.id
                self.containers[CODE] = item["container_id"]
            elif kind == "shell_call" and "environment" not in given and (container := used.get(SHELL)):
                item["environment"] = _environment(container)
                self.containers[SHELL] = container.id
            if item.get("call_id", "") is None:
                paired = called if kind == "shell_call_output" else None
                item["call_id"] = paired or ids.call(self.context.world.id_seed, self.context.world.take(self.tx))
            called = item.get("call_id")
            self._add(item)
        for container in used.values():
            if container.id in self.containers.values():
                self.ends[container.id] = [self.instant]
        self._finish()

    def _reason(self, reasoning: bool | str) -> None:
        """Add a reasoning item. On request it has its content in a form that only the API could read (seen)."""
        id = self._id("rs")
        encrypted = ENCRYPTED in (self.body.include or [])
        hidden: Item = {"content": [], "encrypted_content": _encrypted(id)} if encrypted else {}
        summary = [{"type": "summary_text", "text": reasoning}] if isinstance(reasoning, str) else []
        self._add({"id": id, "type": "reasoning", **hidden, "summary": summary})

    # Calls

    def _tool(self, step: Step) -> Tool:
        kind = SHELL if step.commands is not None else CODE
        return next((tool for tool in self.tools if tool.kind == kind), self.tools[0] if self.tools else Tool(CODE))

    def _call(self, step: Step, tool: Tool) -> bool:
        """Add the items of a call, and what it does. Returns whether the run ends here: the client runs the commands."""
        container = tool.container
        if tool.kind == SHELL:
            return self._shell(step, container)
        assert container
        outputs: list[Item] = [] if step.logs is None else [{"type": "logs", "logs": step.logs}]
        outputs += [{"type": "image", "url": self._show(container, figure)} for figure in step.shows]
        outputs += [] if step.value is None else [{"type": "logs", "logs": step.value}]
        self._write(container, step.files)
        outputs = [] if step.raises is not None else outputs
        self._complete("code_interpreter_call", code=_code(step), container_id=container.id, outputs=outputs)
        self._used(CODE, container)
        return False

    def _shell(self, step: Step, container: tables.Container | None) -> bool:
        commands = step.commands if step.commands is not None else [f"python3 - <<'EOF'\n{_code(step)}\nEOF"]
        call_id = ids.call(self.context.world.id_seed, self.context.world.take(self.tx))
        limits = {"max_output_length": None, "timeout_ms": None} if container else LOCAL_LIMITS
        action = {"commands": commands, **limits}
        self._complete("shell_call", action=action, call_id=call_id, environment=_environment(container))
        if container is None:
            return True
        for figure in step.shows:
            self._show(container, figure)
        self._write(container, step.files)
        code = step.exit or int(bool(step.raises))
        last = {"type": "timeout"} if step.timeout else {"type": "exit", "exit_code": code}
        stdout = (step.logs or "") + (step.value or "")
        output: list[Item] = [
            {"outcome": {"type": "exit", "exit_code": 0}, "stderr": "", "stdout": ""} for _ in commands[1:]
        ]
        output.append({"outcome": last, "stderr": step.stderr or step.raises or "", "stdout": stdout})
        self._complete("shell_call_output", call_id=call_id, max_output_length=None, output=output)
        self._used(SHELL, container)
        return False

    def _used(self, kind: str, container: tables.Container) -> None:
        self.containers[kind] = container.id
        self.ends.setdefault(container.id, []).append(self.instant)

    def _write(self, container: tables.Container, files: list[WrittenFile]) -> None:
        for file in files:
            self._remove(container, file.path)
            if file.delete:
                self._written = [path for path in self._written if path != file.path]
                continue
            self._put(container, file.path, file)
            if file.path not in self._written:
                self._written.append(file.path)

    def _show(self, container: tables.Container, figure: Figure) -> str:
        """Add the file of a displayed figure. Returns its data URL."""
        id = ids.container_file(self.context.world.id_seed, self.context.world.take(self.tx), self.instant)
        name = f"{id}.png"
        digest = self._put(container, f"/mnt/data/{name}", figure, id)
        self._figures.append(_citation(container.id, id, name, 0, 0))
        with self.context.world.open(self.tx, digest) as content:
            return f"data:image/png;base64,{base64.b64encode(content.read()).decode()}"

    def _put(self, container: tables.Container, path: str, file: Figure, id: str | None = None) -> str:
        """Add a file. Returns the digest of its content."""
        assert file.digest is not None
        if upload := self.keep.get(file.digest):
            self.context.world.contents.keep(self.tx, upload, shared=True)
        row = containers.add_file(
            self.context,
            self.tx,
            container.id,
            path,
            file.bytes if isinstance(file, WrittenFile) else None,
            file.digest,
            id=id,
            at=self.instant,
            source="assistant",
            response_id=self.before.next_id,
            visible_from=self.instant if self.background else None,
        )
        self.context.touch("created", row.id)
        return file.digest

    def _find(self, container: tables.Container, path: str) -> list[tables.ContainerFile]:
        """The files of a path, the newest first."""
        return _find_path.all(self.tx, container_id=container.id, path=path, now=self.instant)

    def _remove(self, container: tables.Container, path: str) -> None:
        for row in self._find(container, path):
            if self.background:
                _hide.run(self.tx, container_id=container.id, id=row.id, at=self.instant, by=self.before.next_id)
            else:
                containers.remove_file(self.context, self.tx, row, self.instant)
                self.context.touch("deleted", row.id)

    # Messages

    def _say(self, step: Step) -> None:
        text = self._filled(step.say or "")
        citations, self._figures = self._figures, []
        if step.cite:
            citations += self._citations(text)
        content = {"type": "output_text", "annotations": citations, "logprobs": [], "text": text}
        phase = {"phase": step.phase} if step.phase else {}
        self._complete("message", content=[content], **phase, role="assistant")

    def _filled(self, text: str) -> str:
        if "{" not in text:
            return text
        container = next(iter(self.used), None)
        paths = self.paths(container) if container and "{files}" in text else []
        values = {
            "{links}": ", ".join(map(link, self._written)),
            "{text}": self.before.user_text,
            "{files}": ", ".join(path.rpartition("/")[2] for path in paths),
            "{container}": container.id if container else "",
        }
        filled, left = [], min(MAX_TEXT, MAX_OUTPUT - self._filled_in)
        for part in _PLACEHOLDER.split(text):
            filled.append(values.get(part, part)[:left])
            left -= len(filled[-1])
        whole = "".join(filled)
        self._filled_in += len(whole)
        return whole

    def _citations(self, text: str) -> Iterator[Item]:
        """What the text links to and the container has. Indexes count code points, the end is exclusive."""
        for path, span in islice(links(text), MAX_CITED):
            here = {"path": path, "now": self.instant}
            found = (inputs.newest_at.first(self.tx, container_id=container.id, **here) for container in self.used)
            if row := next(filter(None, found), None):
                yield _citation(row.container_id, row.id, path.rpartition("/")[2], *span)

    # How it ends

    def _dies(self, tool: Tool) -> bool:
        """Whether the container has expired before the step ends, where a running call does not keep it alive."""
        container = tool.container
        if container is None or self.context.world.profile.kept_alive:
            return False
        active = expiry.activity(container, self.now, self.ends.get(container.id, []))
        at = expiry.expires_at(container, active)
        if at is None or at > self.instant:
            return False
        self.at = at - self.now
        self.error = errors.RUN_CONTAINER_EXPIRED()
        return True

    def _fail(self, fail: Fail, tool: Tool) -> bool:
        """Returns whether the run ends here."""
        if fail.wedge:
            if tool.container:
                _wedge.run(self.tx, id=tool.container.id)
            return False
        if fail.incomplete:
            self.incomplete = fail.incomplete
        else:
            known = {"response_id": self.before.next_id}
            known |= {"container_id": tool.container.id} if tool.container else {}
            self.error = scripted(self.context, fail.error or "server_error", **known)
        return True

    def _finish(self) -> None:
        """Count the ends of calls as activity of their containers."""
        if self.context.world.profile.auto_lazy:
            for tool in self.declared:
                if tool.container and tool.container.id not in self.ends:
                    remove_unused(self.context, tool)
        for container in {tool.container.id: tool.container for tool in self.declared if tool.container}.values():
            ends = self.ends.get(container.id, [])
            if not self.background or not ends:
                active = expiry.activity(container, ends[-1], ends) if ends else self.now
                containers.refresh.run(self.tx, id=container.id, now=active)
            else:
                for end in ends:
                    _add_use.run(self.tx, container_id=container.id, at=end, response_id=self.before.next_id)
                _use_until.run(self.tx, id=container.id, until=ends[-1])

    def _complete(self, kind: str, **keys: Any) -> None:
        self._add({"id": self._id(PREFIXES[kind]), "type": kind, "status": "completed", **keys})

    def _add(self, item: Item) -> None:
        self.items.append((item, int(self.at)))

    def _id(self, prefix: str) -> str:
        world = self.context.world
        return ids.response_part(
            prefix, world.id_seed, world.take(self.tx), self.before.chain, self.body.stored, self.instant
        )


def scripted(context: Context, name: str, **known: str) -> APIError:
    """An error of a script, as it would be sent for the present request."""
    request = {"operation": "CreateResponse", "method": "POST", "path": "/v1/responses"}
    return sample(errors.CATALOGUE[name], {**request, "request_id": ids.as_uuid(context.request_id), **known})


def cancel(context: Context, tx: Transaction, response_id: str) -> None:
    """Delete what a cancelled response would still have done."""
    now = context.world.now()
    used = [id for (id,) in _used.tuples(tx, response_id=response_id, now=now)]
    _cancel_uses.run(tx, response_id=response_id, now=now)
    digests = [digest for (digest,) in _ahead.tuples(tx, response_id=response_id, now=now)]
    _delete_ahead.run(tx, response_id=response_id, now=now)
    context.world.contents.drop(tx, digests)
    for id in used:
        _show_again.run(tx, container_id=id, by=response_id, now=now)


def _environment(container: tables.Container | None) -> Item | None:
    return {"type": "container_reference", "container_id": container.id} if container else None


def _code(step: Step) -> str:
    """The code that a call shows; by default a line that fits what it does."""
    if step.code is not None:
        return step.code
    if step.commands is not None:
        return "\n".join(["import subprocess", *(f"subprocess.run({each!r}, shell=True)" for each in step.commands)])
    lines = [
        f"os.remove({file.path!r})" if file.delete else f"open({file.path!r}, 'wb').write(data)" for file in step.files
    ]
    lines += ["plt.show()"] * len(step.shows)
    return "\n".join(lines) or LISTING


def _encrypted(id: str) -> str:
    """What stands for the encrypted content of an item: as long as short ones, and always the same."""
    return "gAAAAA" + base64.urlsafe_b64encode(id.encode() * 10).decode()


def _citation(container_id: str, file_id: str, filename: str, start: int, end: int) -> Item:
    return {
        "type": "container_file_citation",
        "container_id": container_id,
        "end_index": end,
        "file_id": file_id,
        "filename": filename,
        "start_index": start,
    }
