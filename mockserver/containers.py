"""Containers and the files in them: one aggregate, one lifecycle.

A container expires when it has not been used for as long as its `expires_after` says, by its world's clock. Whether it
has expired is computed from its row each time it is read; see `expiry`. Every request for a container or its files counts
as activity, except a list of containers.

Where the live API would reject a request, a rule asks `context.allows(…)`, which also adds a warning to the response. It
reads other switches of a profile from `context.world.profile`.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mockserver import errors, files, profiles
from mockserver.clock import MAX_SECONDS
from mockserver.context import LARGE, Context
from mockserver.expiry import EXPIRES_AT, NEVER, UNEXPIRED, expired, expires_at, lifetime, used
from mockserver.files import NewFile
from mockserver.schema.containers import (
    Container,
    ContainerDeleted,
    ContainerFile,
    ContainerFileDeleted,
    ContainerFileList,
    ContainerList,
    CreateContainer,
    ListContainers,
    NetworkPolicyAllowlist,
    NetworkPolicyDisabled,
)
from mockserver.schema.contents import Content, base_name, container_media_type, masked_disposition
from mockserver.schema.lists import Page, listed
from mockserver.skills import NOTHING, Supplied, mount, unmount
from mockserver.storage import contents, tables
from mockserver.storage.database import Insertion, Statement, Transaction, failure
from mockserver.storage.pagination import Listing

MANY = 200
"""Files of a container; what works on more of them takes milliseconds."""

_SETTLED = "+created_at <= :settled"
"""Condition of the containers that lists show: with the switch `create_lag`, not the newest ones. The unary plus keeps
SQLite from searching an index for it, instead of starting at the cursor of the page."""

_insert = Insertion(tables.Container)
_find = Statement("SELECT * FROM live_containers WHERE id = :id", tables.Container)
refresh = Statement("UPDATE containers SET last_active_at = :now WHERE id = :id AND last_active_at < :now")
_replace = Statement("UPDATE containers SET replaced_by = :by WHERE id = :id")
_expiring = Statement(
    f"SELECT id FROM live_containers WHERE expires_minutes != {NEVER} AND {EXPIRES_AT} > :after AND {EXPIRES_AT} <= :now "
    "ORDER BY created_at, seq"
)
_delete_uses = Statement("DELETE FROM uses WHERE container_id = :container_id")
_insert_file = Insertion(tables.ContainerFile)
VISIBLE = "coalesce(visible_from, :now) <= :now AND coalesce(visible_until, :now + 1) > :now"
"""Condition of the files that exist at the world's time `:now`. A run in the background stores in advance what it will
write and delete."""
FILES = f"SELECT * FROM live_container_files WHERE container_id = :container_id AND {VISIBLE}"
_find_file = Statement(f"{FILES} AND id = :id", tables.ContainerFile)
newest_copy = Statement(f"{FILES} AND file_id = :id ORDER BY seq DESC LIMIT 1", tables.ContainerFile)
_digests = Statement("SELECT DISTINCT digest FROM live_container_files WHERE container_id = :container_id")
_has_many = Statement(f"SELECT 1 FROM container_files WHERE container_id = :container_id LIMIT 1 OFFSET {MANY}")
_delete_files = Statement("DELETE FROM container_files WHERE container_id = :container_id")
_count_files = Statement(f"SELECT count(*) FROM live_container_files WHERE container_id = :container_id AND {VISIBLE}")
listing = Listing(tables.Container, "cntr", "Container", live=_SETTLED)
_unexpired = Listing(tables.Container, "cntr", "Container", live=f"{_SETTLED} AND {UNEXPIRED}")
file_listing = Listing(tables.ContainerFile, "cfile", "Container File", live=VISIBLE)


# Containers, in the order of the API reference


def list_containers(context: Context, query: ListContainers) -> ContainerList:
    """List containers. Each is shown as active now, as by the live API, but by default none is refreshed."""
    profile, now, tx = context.world.profile, context.world.now(), context.read
    pages = listing if profile.expired_listed else _unexpired
    settled = now - profile.create_lag if profile.create_lag else MAX_SECONDS
    rows, more = context.page(pages, query, {"now": now, "settled": settled}, name=query.name)
    rows = [used(tx, row, now) for row in rows]
    if profile.listing_prolongs:
        _refresh_all(context, [row for row in rows if not expired(row, now)], now)
    return listed([_shown(context, row, now, now) for row in rows], more)


def create_container(context: Context, body: CreateContainer, supplied: Supplied = NOTHING) -> Container:
    context.container = body.name
    with context.write() as tx:
        row = add_container(context, tx, body, supplied)
    return _shown(context, row, row.created_at)


def add_container(
    context: Context, tx: Transaction, body: CreateContainer, supplied: Supplied, where: str = ""
) -> tables.Container:
    """Create a container with copies of Files and with skills.

    `where` is what precedes the names of its parameters in errors: `tools[0].container.` in a request for a response.
    """
    row = _insert_container(context, tx, body, *lifetime(context, body))
    copies = [copy(context, tx, row.id, file_id, f"{where}file_ids") for file_id in body.file_ids]
    if body.skills:
        mount(context, tx, row.id, body.skills, supplied, where)
    for id in [*(each.id for each in copies), row.id]:
        context.touch("created", id)
    return row


def _insert_container(
    context: Context, tx: Transaction, body: CreateContainer, anchor: str, minutes: int, id: str | None = None
) -> tables.Container:
    """Insert the row of a container. Its id is generated unless given."""
    now = context.world.now()
    return context.insert(
        tx,
        _insert,
        id,
        created_at=now,
        last_active_at=now,
        name=body.name,
        memory_limit=body.memory_limit,
        network_policy=_policy(body.network_policy) if body.network_policy else None,
        expires_anchor=anchor,
        expires_minutes=minutes,
    )


def retrieve_container(context: Context, container_id: str) -> Container:
    row, now = found(context, context.read, container_id), context.world.now()
    if expired(row, now):
        return _shown(context, row, now)
    _refresh_all(context, [row], now)
    return _shown(context, row, now, now)


def delete_container(context: Context, container_id: str) -> ContainerDeleted:
    with context.write() as tx:
        row = found(context, tx, container_id)
        expect_files(context, tx, row.id)
        digests = [digest for (digest,) in _digests.tuples(tx, container_id=row.id)]
        digests += unmount(tx, row.id)
        _delete_files.run(tx, container_id=row.id)
        _delete_uses.run(tx, container_id=row.id)
        context.delete(tx, listing, id=row.id)
        context.world.contents.drop(tx, digests)
        context.touch("deleted", container_id)
    return {"id": container_id, "object": "container.deleted", "deleted": True}


# Container files


def expect_files(context: Context, tx: Transaction, container_id: str) -> None:
    """Say that a rule is going to work on all files of a container, see `Context.expect`."""
    if _has_many.value(tx, container_id=container_id):
        context.expect(LARGE + 1)


def use_container(context: Context, container_id: str) -> str:
    """Refresh a container. Raises APIError if it is unknown or expired.

    Returns the id of the container that is used: that of another one if the profile replaces expired ones.
    """
    row, now = _running(context, context.read, container_id)
    _refresh_all(context, [row], now)
    return row.id


def create_container_file(context: Context, container_id: str, form: NewFile) -> ContainerFile:
    """Add the file of a form, or a copy of the File that its field `file_id` names."""
    file_id = _copied_id(context, form)
    with context.write() as tx:
        container, now = _running(context, tx, container_id)
        refresh.run(tx, id=container.id, now=now)
        if file_id is not None:
            row = copy(context, tx, container.id, file_id, "file_id")
        elif form.file is None:
            row = _create_missing_file(context, container.id)
        else:
            path = f"/mnt/data/{form.file.blake2b}-{form.filename}"
            row = add_file(context, tx, container.id, path, form.file.size, form.file.digest)
            context.world.contents.keep(tx, form.file)  # last: what fails before leaves the upload as it is
        context.touch("created", row.id)
    return _shown_file(context, row)


def list_container_files(context: Context, container_id: str, query: Page) -> ContainerFileList:
    container_id = use_container(context, container_id)
    rows, more = context.page(file_listing, query, {"container_id": container_id, "now": context.world.now()})
    return listed([_shown_file(context, row) for row in rows], more)


def retrieve_container_file(context: Context, container_id: str, file_id: str) -> ContainerFile:
    container_id = use_container(context, container_id)
    return _shown_file(context, _found_file(context, context.read, container_id, file_id))


def retrieve_container_file_content(context: Context, container_id: str, file_id: str) -> Content:
    container_id = use_container(context, container_id)
    row = _found_file(context, context.read, container_id, file_id)
    name = row.path.rpartition("/")[2]
    content = context.world.open(context.read, row.digest)
    return Content(content, container_media_type(name), masked_disposition(name), row.digest)


def delete_container_file(context: Context, container_id: str, file_id: str) -> ContainerFileDeleted:
    with context.write() as tx:
        container, now = _running(context, tx, container_id)
        row = _found_file(context, tx, container.id, file_id)
        refresh.run(tx, id=container.id, now=now)
        remove_file(context, tx, row, now)
        context.touch("deleted", row.id)
    return {"id": file_id, "object": "container.file.deleted", "deleted": True}


def remove_file(context: Context, tx: Transaction, row: tables.ContainerFile, now: int) -> None:
    file_listing.delete(tx, context.world.take(tx), now, container_id=row.container_id, id=row.id)
    context.world.contents.drop(tx, [row.digest])


# Finding: `find…` returns None for an unknown id; `found…` raises the API's error, or creates what the profile creates


def find(tx: Transaction, container_id: str, now: int) -> tables.Container | None:
    """Return a container as it is at `now`, running or expired."""
    row = _find.first(tx, id=container_id)
    return row and used(tx, row, now)


def find_file(tx: Transaction, container_id: str, file_id: str, now: int) -> tables.ContainerFile | None:
    return _find_file.first(tx, container_id=container_id, id=file_id, now=now)


def expiring(tx: Transaction, after: int, until: int) -> Sequence[str]:
    """Return the ids of containers that, unless they are used, expire after `after` and not after `until`."""
    return [id for (id,) in _expiring.tuples(tx, after=after, now=until)]


def found(context: Context, tx: Transaction, container_id: str) -> tables.Container:
    if row := find(tx, container_id, context.world.now()):
        context.container = row.name
        return row
    if context.creates_missing(container_id):
        return _create_missing(context, container_id)
    raise context.missing("container_id", container_id, "cntr", errors.CONTAINER_NOT_FOUND(container_id=container_id))


def _running(context: Context, tx: Transaction, container_id: str) -> tuple[tables.Container, int]:
    """Return a container that has not expired, or the one that replaces it, and the world's time."""
    row, now = found(context, tx, container_id), context.world.now()
    if not expired(row, now):
        return row, now
    if context.allows(profiles.EXPIRED_REPLACED):
        return replacement(context, tx, row, now), now
    raise replace(errors.CONTAINER_EXPIRED, status=context.world.profile.file_routes_when_expired)()


def _found_file(context: Context, tx: Transaction, container_id: str, file_id: str) -> tables.ContainerFile:
    now = context.world.now()
    if row := find_file(tx, container_id, file_id, now):
        return row
    if (row := newest_copy.first(tx, container_id=container_id, id=file_id, now=now)) and context.allows(
        profiles.FILE_ID_ALIAS
    ):
        return row
    if context.creates_missing(file_id):
        return _create_missing_file(context, container_id, file_id)
    error = errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id)
    raise context.missing("file_id", file_id, "cfile", error)


# Activity


def _refresh_all(context: Context, rows: Sequence[tables.Container], now: int) -> None:
    """Set `last_active_at` of containers, at most once a second for each: the API shows whole seconds.

    If that can't be stored, on a full disk for example, the request continues and does not count as activity.
    """
    used = [row for row in rows if row.last_active_at < now]
    if not used:
        return
    try:
        with context.write() as tx:
            for row in used:
                refresh.run(tx, id=row.id, now=now)
    except Exception as error:
        if failure(error) is None:
            raise


# Creating what the profile creates


def _create_missing(context: Context, container_id: str) -> tables.Container:
    """Create a container for an unknown id. It never expires, because its requests would fail then."""
    with context.write() as tx:
        if found := find(tx, container_id, context.world.now()):  # a thread placed it meanwhile
            return found
        body = CreateContainer(name=container_id)
        row = _insert_container(context, tx, body, "last_active_at", NEVER, container_id)
        context.touch("created", container_id)
    return row


def replacement(context: Context, tx: Transaction, row: tables.Container, now: int) -> tables.Container:
    """Return the running container that replaces an expired one. The first call creates it."""
    seen = {None, row.id}  # a seed can name a circle
    while expired(row, now) and row.replaced_by not in seen and (found := find(tx, str(row.replaced_by), now)):
        row = found
        seen.add(row.id)
    if not expired(row, now):
        return row
    kept = ("name", "memory_limit", "network_policy", "expires_anchor", "expires_minutes")
    columns = {name: getattr(row, name) for name in kept}
    with context.write() as tx:
        new = context.insert(tx, _insert, created_at=now, last_active_at=now, **columns)
        _replace.run(tx, id=row.id, by=new.id)
        context.touch("created", new.id)
    return new


def _create_missing_file(context: Context, container_id: str, id: str | None = None) -> tables.ContainerFile:
    """Create a file that nobody uploaded, for an unknown id or for a form without a file."""
    content = contents.placeholder()
    with context.write() as tx:
        if id and (found := find_file(tx, container_id, id, context.world.now())):  # a thread placed it meanwhile
            return found
        path = f"/mnt/data/{content.blake2b}-placeholder.txt"
        row = add_file(context, tx, container_id, path, content.size, content.digest, id=id)
        context.world.contents.keep(tx, content)
        if id:
            context.touch("created", row.id)
    return row


def copy(context: Context, tx: Transaction, container_id: str, file_id: str, param: str) -> tables.ContainerFile:
    """Add a copy of a File, which the parameter `param` names."""
    file = files.referenced(context, tx, file_id, param)
    path = f"/mnt/data/{file.id}-{base_name(file.filename)}"  # a seed's may have directories
    return add_file(context, tx, container_id, path, file.bytes, file.digest, file_id=file.id)


def add_file(
    context: Context,
    tx: Transaction,
    container_id: str,
    path: str,
    size: int | None,
    digest: str,
    *,
    id: str | None = None,
    at: int | None = None,
    source: str = "user",
    **more: Any,
) -> tables.ContainerFile:
    """Insert the row of a file whose content is in the world, or is put there in the same transaction.

    By default its id is generated and it is created now.
    """
    return context.insert(
        tx,
        _insert_file,
        id,
        container_id=container_id,
        created_at=context.world.now() if at is None else at,
        bytes=size,
        path=path,
        source=source,
        digest=digest,
        **more,
    )


# Checking


def _copied_id(context: Context, form: NewFile) -> str | None:
    """Check a form. Return the id of the File to copy, or None if the form has a file of its own."""
    unknown = next((name for name in form.fields if name != "file_id"), None)
    if unknown and not context.allows(profiles.UNKNOWN_KEY):
        raise errors.UNKNOWN_PARAMETER(param=unknown)
    file_id = form.fields.get("file_id")
    if bool(form.file) is (file_id is not None) and not context.allows(profiles.ANY_FILE_FORM):
        if form.file:
            raise errors.MUTUALLY_EXCLUSIVE(param="file", other="file_id")
        raise errors.MISSING_EXCLUSIVE(param="file_id", other="file")
    return None if form.file else file_id


def _policy(policy: NetworkPolicyDisabled | NetworkPolicyAllowlist) -> str:
    """Return what is stored and shown of a network policy, as JSON: everything except its secrets."""
    shown: dict[str, Any] = {"type": policy.type}
    if policy.type == "allowlist":
        shown["allowed_domains"] = policy.allowed_domains
    return json.dumps(shown)


# Showing


def shown(row: tables.Container, now: int, active_at: int | None = None, running: str = "running") -> Container:
    """Return a container as the API shows it at `now`. `active_at` replaces the row's `last_active_at`."""
    ends = expires_at(row)
    container: Container = {
        "id": row.id,
        "object": "container",
        "created_at": row.created_at,
        "status": running if ends is None or ends > now else "expired",  # type: ignore[typeddict-item]  # a switch has these alone
        "expires_after": {"anchor": row.expires_anchor, "minutes": row.expires_minutes},  # type: ignore[typeddict-item]  # checked when it came in
        "last_active_at": row.last_active_at if active_at is None else active_at,
        "memory_limit": row.memory_limit,  # type: ignore[typeddict-item]  # checked when it came in
        "name": row.name,
    }
    if ends is None:
        del container["expires_after"]
    if row.network_policy:
        container["network_policy"] = json.loads(row.network_policy)
    return container


def shown_file(row: tables.ContainerFile) -> ContainerFile:
    return {
        "id": row.id,
        "object": "container.file",
        "created_at": row.created_at,
        "bytes": row.bytes,
        "container_id": row.container_id,
        "path": row.path,
        "source": row.source,  # type: ignore[typeddict-item]  # checked when it came in
    }


def _shown(context: Context, row: tables.Container, now: int, active_at: int | None = None) -> Container:
    """Return a container as the API shows it in this world, with the keys that only a profile adds."""
    profile = context.world.profile
    container = shown(row, now, active_at, profile.running_status)
    if profile.older_fields:
        container["expires_at"] = expires_at(row, None if container["status"] == "expired" else active_at)
        container["file_count"] = _count_files.value(context.read, container_id=row.id, now=now)
    return container


def _shown_file(context: Context, row: tables.ContainerFile) -> ContainerFile:
    file = shown_file(row)
    if context.world.profile.older_fields and row.file_id:
        file["file_id"] = row.file_id
    return file
