"""What runs of `/responses` do in containers: use them, write and delete files.

A run in the background is written ahead. What it will have done by an instant of the world's clock is a function of
the rows: files carry the instants between which they are shown, `uses` the ends of steps, which are activity.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from mockserver import containers, errors, ids, profiles
from mockserver.context import Context
from mockserver.expiry import activity, expired
from mockserver.schema.containers import CreateContainer, ExpiresAfter
from mockserver.schema.contents import base_name
from mockserver.schema.responses import (
    CODE,
    SHELL,
    AutoContainer,
    AutoEnvironment,
    CodeInterpreter,
    ContainerReference,
    CreateResponse,
    LocalEnvironment,
    Shell,
)
from mockserver.skills import Supplied
from mockserver.storage import tables
from mockserver.storage.contents import Uploads
from mockserver.storage.database import Statement, Transaction
from mockserver.transcript import Transcript, parts

_add_use = Statement("INSERT OR IGNORE INTO uses VALUES (:container_id, :at, :response_id)")
_cancel_uses = Statement("DELETE FROM uses WHERE response_id = :response_id AND at > :now")
_use_until = Statement("UPDATE containers SET used_until = max(coalesce(used_until, 0), :until) WHERE id = :id")
wedge = Statement("UPDATE containers SET wedged = 1 WHERE id = :id")
"""Lets every later call in a container fail."""
_find_path = Statement(f"{containers.FILES} AND path = :path ORDER BY seq DESC", tables.ContainerFile)
_all_files = Statement(f"{containers.FILES} ORDER BY created_at, seq", tables.ContainerFile)
_hide = Statement("UPDATE container_files SET visible_until = :at WHERE container_id = :container_id AND id = :id")
_ahead = Statement(
    "SELECT * FROM live_container_files WHERE response_id = :response_id AND visible_from > :now",
    tables.ContainerFile,
)
_show_again = Statement(
    "UPDATE container_files SET visible_until = NULL WHERE container_id = :container_id AND path = :path "
    "AND visible_until > :now"
)


@dataclass(slots=True)
class Tool:
    """A tool that a request declares: its container, or None where the client runs the commands."""

    kind: str
    container: tables.Container | None = None
    created: tuple[tuple[str, str], ...] = ()
    """What was created with a new container."""


# Which containers a run gets


def tools(
    context: Context, tx: Transaction, body: CreateResponse, before: Transcript, supplied: Supplied
) -> list[Tool]:
    """The tools that a run may call, with their containers. Raises APIError for one that can't be used."""
    declared = []
    for position, tool in enumerate(body.tools or []):
        if isinstance(tool, CodeInterpreter):
            where = f"tools[{position}].container"
            declared.append(_tool(context, tx, CODE, tool.container, before, where, supplied))
        elif isinstance(tool, Shell):
            where, asked = f"tools[{position}].environment", tool.environment
            asked = asked or AutoEnvironment(type="container_auto")
            declared.append(_tool(context, tx, SHELL, asked, before, where, supplied))
    choice = body.tool_choice
    if choice == "none":
        return []
    if not isinstance(choice, dict):
        return declared
    kind = choice.get("type")
    if kind == "allowed_tools":
        kinds = [each.get("type") for each in parts(choice.get("tools"))]
        return [tool for tool in declared if tool.kind in kinds]
    return [tool for tool in declared if kind not in (CODE, SHELL) or tool.kind == kind]


def _tool(
    context: Context,
    tx: Transaction,
    kind: str,
    asked: str | AutoContainer | AutoEnvironment | ContainerReference | LocalEnvironment,
    before: Transcript,
    where: str,
    supplied: Supplied,
) -> Tool:
    """A tool with its container: the one that is asked for, that of the context, or a new one."""
    if isinstance(asked, LocalEnvironment):
        return Tool(kind)
    if isinstance(asked, str | ContainerReference):
        return Tool(kind, find_running(context, tx, asked if isinstance(asked, str) else asked.container_id))
    known = before.containers.get(kind)
    file_ids = asked.file_ids or []
    if known is not None:
        row = containers.find(tx, known, context.world.now())
        if row is None or not expired(row, context.world.now()):
            row = find_running(context, tx, known)
            for file_id in file_ids:
                add_copy(context, tx, row.id, file_id, f"{where}.file_ids")
            return Tool(kind, row)
        if context.world.profile.auto_expired == "refuse":
            replayed = known in before.replayed
            raise errors.RUN_CONTAINER_REPLAYED(container_id=known) if replayed else errors.RUN_CONTAINER_EXPIRED()
    new = CreateContainer(
        name="auto",
        file_ids=file_ids,
        expires_after=ExpiresAfter(anchor="last_active_at", minutes=20),
        memory_limit=asked.memory_limit or "1g",
        network_policy=asked.network_policy,
        skills=asked.skills or [] if isinstance(asked, AutoEnvironment) else [],
    )
    mark = len(context.touched)
    container = containers.add_container(context, tx, new, supplied)
    return Tool(kind, container, tuple(context.touched[mark:]))


def remove_unused(context: Context, tool: Tool) -> None:
    """Undo the creation of a container in which no call was made."""
    if tool.container and tool.created:
        mark = len(context.touched)
        containers.delete_container(context, tool.container.id)
        del context.touched[mark:]
        context.touched[:] = [each for each in context.touched if each not in tool.created]


def add_inputs(context: Context, tx: Transaction, tools: Sequence[Tool], before: Transcript, uploads: Uploads) -> None:
    """Put the files of the input into the containers (the path of those without an id is a guess)."""
    for tool in tools:
        for file in before.files if tool.container else []:
            assert tool.container
            if file.file_id is not None:
                add_copy(context, tx, tool.container.id, file.file_id, "input")
            else:
                add_input(context, tx, tool.container.id, file.filename, file.data or "", uploads)


def find_running(context: Context, tx: Transaction, container_id: str) -> tables.Container:
    """For a run. Raises APIError for a container that is unknown, expired or wedged."""
    row, now = containers.found(context, tx, container_id), context.world.now()
    if expired(row, now):
        if not context.allows(profiles.EXPIRED_REPLACED):
            raise errors.RUN_CONTAINER_EXPIRED()
        row = containers.replacement(context, tx, row, now)
    if row.wedged:
        raise errors.RUN_FAILED()
    return row


def add_copy(context: Context, tx: Transaction, container_id: str, file_id: str, param: str) -> None:
    """A copy of a File, if the container has none yet."""
    if not containers.newest_copy.first(tx, container_id=container_id, id=file_id, now=context.world.now()):
        context.touch("created", containers.copy(context, tx, container_id, file_id, param).id)


# What it does in them


def paths(tx: Transaction, container_id: str, at: int) -> list[str]:
    return [row.path for row in _all_files.all(tx, container_id=container_id, now=at)]


def find_path(tx: Transaction, container_id: str, path: str, at: int) -> tables.ContainerFile | None:
    return _find_path.first(tx, container_id=container_id, path=path, now=at)


def write_file(
    context: Context,
    tx: Transaction,
    container_id: str,
    path: str,
    *,
    digest: str,
    bytes: int | None,
    at: int,
    source: str = "assistant",
    ahead: bool = False,
    response_id: str | None = None,
    id: str | None = None,
) -> tables.ContainerFile:
    """Add a file whose content is in the world. With `ahead` it is not shown before the instant `at`."""
    seed = context.world.id_seed
    row = context.insert(
        tx,
        containers.insert_file,
        lambda ordinal: containers.new_file(
            container_id=container_id,
            id=id or ids.container_file(seed, ordinal, at),
            seq=ordinal,
            created_at=at,
            bytes=bytes,
            path=path,
            source=source,
            digest=digest,
            response_id=response_id,
            visible_from=at if ahead else None,
        ),
    )
    context.touch("created", row.id)
    return row


def remove_path(context: Context, tx: Transaction, container_id: str, path: str, *, at: int, ahead: bool) -> None:
    """Delete the files of a path; with `ahead` they are shown up to the instant `at`."""
    for row in _find_path.all(tx, container_id=container_id, path=path, now=at):
        if ahead:
            _hide.run(tx, container_id=container_id, id=row.id, at=at)
        else:
            containers.remove_file(context, tx, row, at)
            context.touch("deleted", row.id)


def use(context: Context, tx: Transaction, row: tables.Container, ends: Sequence[int], response_id: str | None) -> None:
    """Count the ends of a run's steps as activity; those of a response in the background when they have come."""
    if response_id is None:
        containers.refresh.run(tx, id=row.id, now=activity(row, ends[-1], ends) if ends else context.world.now())
        return
    for end in ends:
        _add_use.run(tx, container_id=row.id, at=end, response_id=response_id)
    if ends:
        _use_until.run(tx, id=row.id, until=ends[-1])


def cancel(context: Context, tx: Transaction, response_id: str) -> None:
    """Delete what a cancelled response would still have done."""
    now = context.world.now()
    _cancel_uses.run(tx, response_id=response_id, now=now)
    for row in _ahead.all(tx, response_id=response_id, now=now):
        containers.remove_file(context, tx, row, now)
        _show_again.run(tx, container_id=row.container_id, path=row.path, now=now)


def add_input(context: Context, tx: Transaction, container_id: str, filename: str, data: str, uploads: Uploads) -> None:
    """Add a file that stands in the input, as base64."""
    name = base_name(filename)
    path = "/mnt/data/" + ("file" if name in ("", ".", "..") or "\0" in name else name)
    if find_path(tx, container_id, path, context.world.now()):
        return
    try:
        upload = uploads.put([base64.b64decode(data, validate=True)])
    except ValueError:  # binascii.Error is one; so is text that is not ASCII
        raise errors.INVALID_INPUT_FILE(param="input") from None
    try:
        now = context.world.now()
        write_file(context, tx, container_id, path, digest=upload.digest, bytes=upload.size, at=now, source="user")
        context.world.contents.keep(tx, upload)
    finally:
        upload.discard()
