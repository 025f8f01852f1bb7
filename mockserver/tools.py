"""The tools that a run of `/responses` may call, and the containers that they get."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mockserver import containers, errors, profiles
from mockserver.context import Context
from mockserver.expiry import expired
from mockserver.inputs import add_copy, text_at
from mockserver.schema.containers import UNASKED_EXPIRY, CreateContainer
from mockserver.schema.responses import (
    CODE,
    SHELL,
    AutoContainer,
    AutoEnvironment,
    CodeInterpreter,
    ContainerReference,
    CreateResponse,
    LocalEnvironment,
    OtherTool,
    Shell,
    parts,
)
from mockserver.skills import Supplied, check_skills
from mockserver.storage import tables
from mockserver.storage.database import Transaction
from mockserver.transcript import Transcript

_VARIANT = re.compile(r"(?:_use|_preview|_\d{4}_\d\d_\d\d)+$")
"""What tells types of one tool apart: a choice of web_search also means web_search_preview (guess)."""

Environment = str | AutoContainer | AutoEnvironment | ContainerReference | LocalEnvironment
"""Where a tool runs, as a request says it."""


@dataclass(slots=True)
class Tool:
    """A tool that a request declares: its container, or None where the client runs the commands."""

    kind: str
    container: tables.Container | None = None
    created: tuple[tuple[str, str], ...] = ()
    """What was created with a new container."""
    continues: bool = False
    """Whether an earlier call of the context was made in the container."""


def declared_tools(
    context: Context, tx: Transaction, body: CreateResponse, before: Transcript, supplied: Supplied
) -> dict[int, Tool]:
    """The tools that run in containers, by their positions. Raises APIError for one that can't be used."""
    declared = {}
    for position, tool in enumerate(body.tools or []):
        if isinstance(tool, CodeInterpreter):
            where = f"tools[{position}].container."
            declared[position] = _tool(context, tx, CODE, tool.container, before, where, supplied)
        elif isinstance(tool, Shell):
            where = f"tools[{position}].environment."
            asked = tool.environment or AutoEnvironment(type="container_auto")
            declared[position] = _tool(context, tx, SHELL, asked, before, where, supplied)
    for each in declared.values():
        each.continues = each.container is not None and each.container.id == before.containers.get(each.kind)
    return declared


def check_tools(context: Context, body: CreateResponse) -> None:
    """Raises APIError for a choice of tools that are not declared, and for a container of another tool."""
    tools, choice = body.tools or [], body.tool_choice
    for position, tool in enumerate(tools):
        if isinstance(tool, OtherTool) and "container" in (tool.model_extra or {}):
            raise errors.UNKNOWN_PARAMETER(param=f"tools[{position}].container")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        raise errors.INVALID_VALUE(value=choice[:100], supported="'none', 'auto', and 'required'", param="tool_choice")
    if body.prompt and body.tools is None:  # which may have tools
        return
    if choice == "required" and not tools and not context.allows(profiles.ANY_RUN):
        raise errors.CHOICE_WITHOUT_TOOLS(choice=choice)
    if not isinstance(choice, dict):
        return
    chosen = {"tool_choice": choice}
    if choice.get("type") == "allowed_tools":
        chosen = {f"tool_choice.tools[{number}]": each for number, each in enumerate(parts(choice.get("tools")))}
    names: dict[str, set[object]] = {}
    for tool in tools:
        names.setdefault(_VARIANT.sub("", tool.type[:100]), set()).add(str((tool.model_extra or {}).get("name")))
    for where, each in chosen.items():
        kind = text_at(each, "type", where)[:100]
        known = names.get(_VARIANT.sub("", kind), ())
        name = text_at(each, "name", where) if kind in ("function", "custom") else None
        found = known and (name is None or name in known)
        # Those of a namespace are inside of it.
        if not (found or (name is not None and "namespace" in names) or context.allows(profiles.ANY_RUN)):
            raise errors.CHOICE_NOT_FOUND(choice=name[:100] if known and name else kind)


def is_call_required(body: CreateResponse) -> bool:
    choice = body.tool_choice
    if isinstance(choice, dict):
        return choice.get("type") != "allowed_tools" or choice.get("mode") == "required"
    return choice == "required"


def allowed_tools(body: CreateResponse, declared: Iterable[Tool]) -> list[Tool]:
    """The tools that a run may call."""
    choice = body.tool_choice
    if choice == "none":
        return []
    if not isinstance(choice, dict):
        return list(declared)
    kind = choice.get("type")
    if kind == "allowed_tools":
        kinds = [each.get("type") for each in parts(choice.get("tools"))]
        return [tool for tool in declared if tool.kind in kinds]
    return [tool for tool in declared if tool.kind == kind]


def _tool(
    context: Context, tx: Transaction, kind: str, asked: Environment, before: Transcript, where: str, supplied: Supplied
) -> Tool:
    """A tool with its container: the one that is asked for, that of the context, or a new one."""
    if isinstance(asked, LocalEnvironment):
        return Tool(kind)
    if isinstance(asked, str | ContainerReference):
        return Tool(kind, _find_running(context, tx, asked if isinstance(asked, str) else asked.container_id))
    known = before.containers.get(kind)
    file_ids = asked.file_ids or []
    skills = asked.skills or [] if isinstance(asked, AutoEnvironment) else []
    if known is not None:
        row = containers.find(tx, known, context.world.now())
        if row is None or not expired(row, context.world.now()):
            row = _find_running(context, tx, known)
            check_skills(context, skills, supplied, where)
            for file_id in file_ids:
                add_copy(context, tx, row.id, file_id, f"{where}file_ids")
            return Tool(kind, row)
        if context.world.profile.auto_expired == "refuse":
            replayed = known in before.replayed
            raise errors.RUN_CONTAINER_REPLAYED(container_id=known) if replayed else errors.RUN_CONTAINER_EXPIRED()
    new = CreateContainer(
        name="auto",
        file_ids=file_ids,
        expires_after=UNASKED_EXPIRY,
        memory_limit=asked.memory_limit or "1g",
        network_policy=asked.network_policy,
        skills=skills,
    )
    mark = len(context.touched)
    container = containers.add_container(context, tx, new, supplied, where)
    return Tool(kind, container, tuple(context.touched[mark:]))


def shown_tool(tool: dict[str, Any], used: Tool | None) -> dict[str, Any]:
    """As sent, but without secrets; a hosted shell names its container (seen)."""
    if used and used.kind == SHELL and used.container:
        return {**tool, "environment": {"type": "container_reference", "container_id": used.container.id}}
    for place in (tool, tool.get("container"), tool.get("environment")):
        if isinstance(place, dict) and isinstance(policy := place.get("network_policy"), dict):
            place["network_policy"] = {name: value for name, value in policy.items() if name != "domain_secrets"}
    return {name: value for name, value in tool.items() if name not in ("authorization", "headers")}  # of MCP servers


def remove_unused(context: Context, tool: Tool) -> None:
    """Undo the creation of a container in which no call was made."""
    if tool.container and tool.created:
        mark = len(context.touched)
        containers.delete_container(context, tool.container.id)
        del context.touched[mark:]
        context.touched[:] = [each for each in context.touched if each not in tool.created]


def _find_running(context: Context, tx: Transaction, container_id: str) -> tables.Container:
    """For a run. Raises APIError for a container that is unknown, expired or wedged."""
    row, now = containers.found(context, tx, container_id), context.world.now()
    if expired(row, now):
        if not context.allows(profiles.EXPIRED_REPLACED):
            raise errors.RUN_CONTAINER_EXPIRED()
        row = containers.replacement(context, tx, row, now)
    if row.wedged:
        raise errors.RUN_FAILED()
    return row
