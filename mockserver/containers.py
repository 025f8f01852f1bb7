"""Containers and the files in them: one aggregate, one lifecycle.

A container is running until it has not been used for as long as its `expires_after` says, by its
world's clock; then it is expired for good. Nothing runs in the background: whether it has expired is
worked out from its row whenever it matters. Every use but listing containers counts as activity.

Where a world's profile has switches for it, the rule asks: `call.lets(…)` for what the live API would
refuse, `call.world.profile` for the rest.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, case, delete, func, or_, select, update

from mockserver import errors, ids, profiles, schema
from mockserver.files import Files, NewFile
from mockserver.profiles import Profile
from mockserver.storage import tables
from mockserver.storage.blobs import Blobs
from mockserver.storage.database import Database, Insertion, Rows, Statement, Transaction, failure, record, table
from mockserver.storage.pagination import Listing, ends
from mockserver.worlds import Call, Worlds

MINUTES = range(1, 20 + 1)
"""What the live API takes as `expires_after.minutes`."""
MINUTES_A_DAY = 1_440
NEVER = 0
"""In `expires_minutes`: it never expires."""
SUCCESSORS = "successors"
"""Among the tombstones: what took the place of an expired container, by the id of that one."""

_CONTAINER = table(tables.Container)
_FILE = table(tables.ContainerFile)
_this = (_CONTAINER.c.world == bindparam("world"), _CONTAINER.c.id == bindparam("id"))
_inside = (_FILE.c.world == bindparam("world"), _FILE.c.container_id == bindparam("container"))
_this_file = (*_inside, _FILE.c.id == bindparam("id"))

_new = record(tables.Container)
_insert = Insertion(tables.Container, if_new=True)
_find = Rows(select(_CONTAINER).where(*_this), tables.Container)
_delete = Statement(delete(_CONTAINER).where(*_this))
_refresh = Statement(
    update(_CONTAINER)
    .where(_CONTAINER.c.world == bindparam("of"), _CONTAINER.c.id == bindparam("used"))
    .where(_CONTAINER.c.last_active_at < bindparam("now"))
    .values(last_active_at=bindparam("now"))
)
_never = _CONTAINER.c.expires_minutes == NEVER
_due = (
    case((_CONTAINER.c.expires_anchor == "created_at", _CONTAINER.c.created_at), else_=_CONTAINER.c.last_active_at)
    + _CONTAINER.c.expires_minutes * 60
)
unexpired = or_(_never, _due > bindparam("now"))
_expiring = Statement(
    select(_CONTAINER.c.id)
    .where(_CONTAINER.c.world == bindparam("world"))
    .where(~_never, _due > bindparam("after"), _due <= bindparam("until"))
    .order_by(_CONTAINER.c.created_at, _CONTAINER.c.seq)
)
_new_file = record(tables.ContainerFile)
_insert_file = Insertion(tables.ContainerFile, if_new=True)
_find_file = Rows(select(_FILE).where(*_this_file), tables.ContainerFile)
_newest_copy = Rows(
    select(_FILE).where(*_inside, _FILE.c.file_id == bindparam("file")).order_by(_FILE.c.seq.desc()).limit(1),
    tables.ContainerFile,
)
_delete_file = Statement(delete(_FILE).where(*_this_file))
_digests = Statement(select(_FILE.c.digest).where(*_inside).distinct())
_delete_files = Statement(delete(_FILE).where(*_inside))

_containers = Listing(tables.Container, scope=("world",), prefix="cntr")
_unexpired = Listing(tables.Container, scope=("world",), prefix="cntr", live=unexpired)
_count_files = Statement(select(func.count()).select_from(_FILE).where(*_inside))
_files = Listing(tables.ContainerFile, scope=("world", "container_id"), prefix="cfile")


class Containers:
    def __init__(self, database: Database, blobs: Blobs, worlds: Worlds, files: Files) -> None:
        self._database = database
        self._blobs = blobs
        self._worlds = worlds
        self._files = files

    def create(self, call: Call, body: schema.CreateContainer) -> schema.Container:
        anchor, minutes = _lifetime(call, body)
        world, now = call.world, call.world.now()
        with call.undone(), self._database.transaction() as tx:
            row = self._worlds.insert(
                tx,
                world.id,
                _insert,
                lambda ordinal: _new(
                    world=world.id,
                    id=ids.container(world.id_seed, ordinal, now),
                    seq=ordinal,
                    created_at=now,
                    last_active_at=now,
                    name=body.name,
                    memory_limit=body.memory_limit,
                    network_policy=_policy(body.network_policy),
                    expires_anchor=anchor,
                    expires_minutes=minutes,
                ),
            )
            copies = [self._copy(tx, call, row.id, file_id, "file_ids") for file_id in body.file_ids]
        for id in [*(copy.id for copy in copies), row.id]:
            call.touch("created", id)
        return self._shown(call.world.profile, row, now)

    def list(self, call: Call, query: schema.ListContainers) -> schema.ContainerList:
        """Shows every container as active just now, as the live API does, and by default prolongs none."""
        profile, now = call.world.profile, call.world.now()
        listing, values = (_containers if profile.expired_listed else _unexpired), {"world": call.world.id, "now": now}
        rows, more = listing.page(
            self._database.snapshot,
            query,
            "containers",
            values,
            call.still_listed(now),
            call.lets,
            name=query.name,
        )
        if profile.listing_prolongs:
            self._use_all(rows, now)
        first, last = ends(rows)
        data = [self._shown(profile, row, now, now) for row in rows]
        return {"object": "list", "data": data, "first_id": first, "has_more": more, "last_id": last}

    def retrieve(self, call: Call, container_id: str) -> schema.Container:
        row, now = self._found(self._database.snapshot, call, container_id), call.world.now()
        if expired(row, now):
            return self._shown(call.world.profile, row, now)
        self._use(row, now)
        return self._shown(call.world.profile, row, now, now)

    def delete(self, call: Call, container_id: str) -> schema.ContainerDeleted:
        inside = {"world": call.world.id, "container": container_id}
        with self._database.transaction() as tx:
            row = self._found(tx, call, container_id)
            self._blobs.dropped(digest for (digest,) in _digests.tuples(tx, **inside))
            _delete_files.run(tx, **inside)
            _delete.run(tx, world=call.world.id, id=container_id)
            _containers.bury(tx, row, "containers", self._worlds.take(tx, call.world.id), call.world.now())
        self._blobs.release()
        call.touch("deleted", container_id)
        return {"id": container_id, "object": "container.deleted", "deleted": True}

    def use(self, call: Call, container_id: str) -> str:
        """Count as activity; refuse a container that is unknown or expired. Returns the id of the one used."""
        row, now = self._running(self._database.snapshot, call, container_id)
        self._use(row, now)
        return row.id

    def create_file(self, call: Call, container_id: str, form: NewFile) -> schema.ContainerFile:
        """Add an upload, or a copy of a File. Needs either `file` or the field `file_id`."""
        file_id = _copied_id(call, form)
        with call.undone(), self._database.transaction() as tx:
            row, now = self._running(tx, call, container_id)
            _refresh.run(tx, of=row.world, used=row.id, now=now)
            if file_id is not None:
                made = self._copy(tx, call, row.id, file_id, "file_id")
            elif form.file is None:
                made = self._insert_placeholder(tx, call, row.id)
            else:
                path = f"/mnt/data/{form.file.blake2b}-{form.filename}"
                made = self._insert_file(tx, call, row.id, path, form.file.size, form.file.digest)
                self._blobs.keep(tx, form.file)  # last: whatever refuses or repeats this leaves the upload as it is
        call.touch("created", made.id)
        return self._shown_file(call, made)

    def list_files(self, call: Call, container_id: str, query: schema.Page) -> schema.ContainerFileList:
        container_id = self.use(call, container_id)
        values, since = {"world": call.world.id, "container_id": container_id}, call.still_listed(call.world.now())
        rows, more = _files.page(self._database.snapshot, query, graves(container_id), values, since, call.lets)
        first, last = ends(rows)
        data = [self._shown_file(call, row) for row in rows]
        return {"object": "list", "data": data, "first_id": first, "has_more": more, "last_id": last}

    def retrieve_file(self, call: Call, container_id: str, file_id: str) -> schema.ContainerFile:
        container_id = self.use(call, container_id)
        return self._shown_file(call, self._found_file(self._database.snapshot, call, container_id, file_id))

    def delete_file(self, call: Call, container_id: str, file_id: str) -> schema.ContainerFileDeleted:
        with self._database.transaction() as tx:
            container, now = self._running(tx, call, container_id)
            row = self._found_file(tx, call, container.id, file_id)
            _refresh.run(tx, of=container.world, used=container.id, now=now)
            _files.bury(tx, row, graves(container.id), self._worlds.take(tx, call.world.id), now)
            _delete_file.run(tx, world=call.world.id, container=container.id, id=row.id)
            self._blobs.dropped([row.digest])
        self._blobs.release()
        call.touch("deleted", row.id)
        return {"id": file_id, "object": "container.file.deleted", "deleted": True}

    def file_content(self, call: Call, container_id: str, file_id: str) -> schema.Content:
        container_id = self.use(call, container_id)
        row = self._found_file(self._database.snapshot, call, container_id, file_id)
        name = row.path.rpartition("/")[2]
        return schema.Content(self._blobs.open(row.digest), schema.media_type(name), schema.masked_disposition(name))

    def expiring(self, database: Database, world: int, after: int, until: int) -> Sequence[str]:
        """Ids of those that expire later than `after` and not later than `until`, in unused time."""
        return [id for (id,) in _expiring.tuples(database.snapshot, world=world, after=after, until=until)]

    def _found(self, tx: Transaction, call: Call, container_id: str) -> tables.Container:
        if row := _find.first(tx, world=call.world.id, id=container_id):
            return row
        if call.conjures(container_id):
            return self._conjured(tx, call, container_id)
        raise call.missing("container_id", container_id, "cntr", errors.CONTAINER_NOT_FOUND(container_id=container_id))

    def _running(self, tx: Transaction, call: Call, container_id: str) -> tuple[tables.Container, int]:
        row, now = self._found(tx, call, container_id), call.world.now()
        if not expired(row, now):
            return row, now
        if call.lets(profiles.EXPIRED_REPLACED):
            return self._successor(tx, call, row, now), now
        raise replace(errors.CONTAINER_EXPIRED, status=call.world.profile.file_routes_when_expired)()

    def _conjured(self, tx: Transaction, call: Call, container_id: str) -> tables.Container:
        """A container by an id that nobody created. It never expires, as then the id would be refused."""
        world, now = call.world, call.world.now()
        with self._database.joining(tx) as tx:
            if there := _find.first(tx, world=world.id, id=container_id):  # placed since, by a thread
                return there
            row = self._worlds.insert(
                tx,
                world.id,
                _insert,
                lambda ordinal: _new(
                    world=world.id,
                    id=container_id,
                    seq=ordinal,
                    created_at=now,
                    last_active_at=now,
                    name=container_id,
                    memory_limit="1g",
                    network_policy=None,
                    expires_anchor="last_active_at",
                    expires_minutes=NEVER,
                ),
            )
        call.touch("created", container_id)
        return row

    def _successor(self, tx: Transaction, call: Call, row: tables.Container, now: int) -> tables.Container:
        """The running container that took the place of an expired one, made if there is none."""
        last = self._newest(tx, row, now)
        if not expired(last, now):
            return last
        world = call.world
        with self._database.joining(tx) as tx:
            columns = {column.name: getattr(last, column.name) for column in _CONTAINER.c}
            columns |= {"created_at": now, "last_active_at": now}
            successor = self._worlds.insert(
                tx,
                world.id,
                _insert,
                lambda ordinal: _new(**columns | {"id": ids.container(world.id_seed, ordinal, now), "seq": ordinal}),
            )
            _containers.bury(tx, successor, SUCCESSORS, successor.seq, now, id=last.id)
        call.touch("created", successor.id)
        return successor

    def _newest(self, tx: Transaction, row: tables.Container, now: int) -> tables.Container:
        """Of those that took each other's place the one that runs, or the last."""
        while (
            expired(row, now)
            and (buried := _containers.last(tx, SUCCESSORS, row.world, row.id))
            and (there := _find.first(tx, world=row.world, id=buried.id))
        ):
            row = there
        return row

    def _use_all(self, rows: Sequence[tables.Container], now: int) -> None:
        used = [row for row in rows if row.last_active_at < now and not expired(row, now)]
        if used:
            self._remember(used, now)

    def _use(self, row: tables.Container, now: int) -> None:
        """Writes at most once a second for each container: the wire shows whole seconds."""
        if row.last_active_at < now:
            self._remember([row], now)

    def _remember(self, used: Sequence[tables.Container], now: int) -> None:
        """Where that can't be stored, on a full disk say, reading goes on, and counts as no use."""
        try:
            with self._database.transaction() as tx:
                for row in used:
                    _refresh.run(tx, of=row.world, used=row.id, now=now)
        except Exception as error:
            if failure(error) is None:
                raise

    def _found_file(self, tx: Transaction, call: Call, container_id: str, file_id: str) -> tables.ContainerFile:
        inside = {"world": call.world.id, "container": container_id}
        if row := _find_file.first(tx, **inside, id=file_id):
            return row
        if (row := _newest_copy.first(tx, **inside, file=file_id)) and call.lets(profiles.FILE_ID_ALIAS):
            return row
        if call.conjures(file_id):
            row = self._insert_placeholder(tx, call, container_id, file_id)
            call.touch("created", row.id)
            return row
        raise call.missing(
            "file_id",
            file_id,
            "cfile",
            errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id),
        )

    def _copy(self, tx: Transaction, call: Call, container_id: str, file_id: str, param: str) -> tables.ContainerFile:
        file = self._files.copied(tx, call, file_id, param)
        path = f"/mnt/data/{file.id}-{file.filename}"
        return self._insert_file(tx, call, container_id, path, file.bytes, file.digest, file.id)

    def _insert_placeholder(
        self, tx: Transaction, call: Call, container_id: str, id: str | None = None
    ) -> tables.ContainerFile:
        """A file that nobody uploaded, by the id that it is asked for."""
        with self._blobs.placeholder() as content, self._database.joining(tx) as tx:
            inside = {"world": call.world.id, "container": container_id}
            if id and (there := _find_file.first(tx, **inside, id=id)):  # placed since, by a thread
                return there
            path = f"/mnt/data/{content.blake2b}-placeholder.txt"
            row = self._insert_file(tx, call, container_id, path, content.size, content.digest, id=id)
            self._blobs.keep(tx, content)
            return row

    def _insert_file(
        self,
        tx: Transaction,
        call: Call,
        container_id: str,
        path: str,
        size: int,
        digest: str,
        file_id: str | None = None,
        id: str | None = None,
    ) -> tables.ContainerFile:
        """`file_id` is that of the File that it is a copy of; an own id is minted unless given."""
        world, now = call.world, call.world.now()
        return self._worlds.insert(
            tx,
            world.id,
            _insert_file,
            lambda ordinal: _new_file(
                world=world.id,
                container_id=container_id,
                id=id or ids.container_file(world.id_seed, ordinal, now),
                seq=ordinal,
                created_at=now,
                bytes=size,
                path=path,
                source="user",
                digest=digest,
                file_id=file_id,
            ),
        )

    def _shown(
        self, profile: Profile, row: tables.Container, now: int, active_at: int | None = None
    ) -> schema.Container:
        """As the world's profile shows it."""
        container = shown(row, now, active_at, profile.running_status)
        if profile.older_fields:
            container["expires_at"] = expires_at(row, None if container["status"] == "expired" else active_at)
            container["file_count"] = _count_files.value(self._database.snapshot, world=row.world, container=row.id)
        return container

    def _shown_file(self, call: Call, row: tables.ContainerFile) -> schema.ContainerFile:
        file = shown_file(row)
        if call.world.profile.older_fields and row.file_id:
            file["file_id"] = row.file_id
        return file


def _copied_id(call: Call, form: NewFile) -> str | None:
    """The id of the File that is to be copied; None where the form's own file is to be added."""
    unknown = next((name for name in form.fields if name != "file_id"), None)
    if unknown and not call.lets(profiles.UNKNOWN_KEY):
        raise errors.UNKNOWN_PARAMETER(param=unknown)
    file_id = form.fields.get("file_id")
    if bool(form.file) is (file_id is not None) and not call.lets(profiles.ANY_FILE_FORM):
        if form.file:
            raise errors.MUTUALLY_EXCLUSIVE(param="file", other="file_id")
        raise errors.MISSING_PARAMETER(param="file")
    return None if form.file else file_id


def _lifetime(call: Call, body: schema.CreateContainer) -> tuple[str, int]:
    """The anchor and the minutes behind it, as far as the world's profile lets them in."""
    rule, profile = body.expires_after, call.world.profile
    given = rule.model_fields_set
    if not profile.expiry_unasked and "expires_after" not in body.model_fields_set:
        return rule.anchor, NEVER
    anchors = ["last_active_at", "created_at"] if profile.created_at_expiry else ["last_active_at"]
    if rule.anchor not in anchors:
        raise errors.INVALID_VALUE(value=rule.anchor, supported="'last_active_at'", param="expires_after.anchor")
    if "days" in given and not profile.created_at_expiry:
        raise errors.UNKNOWN_PARAMETER(param="expires_after.days")
    if "days" in given and "minutes" in given:
        raise errors.MUTUALLY_EXCLUSIVE(param="expires_after.minutes", other="expires_after.days")
    if "days" in given:
        _within(call, "expires_after.days", rule.days, profiles.MAX_MINUTES // MINUTES_A_DAY)
    elif "minutes" in given:
        _within(call, "expires_after.minutes", rule.minutes, profile.max_minutes)
    else:
        raise errors.MISSING_PARAMETER(param="expires_after.minutes")
    if rule.anchor == "created_at" or "days" in given:
        call.warn(profiles.CREATED_AT_EXPIRY)
    elif rule.minutes > MINUTES[-1]:
        call.warn(profiles.MINUTES_BEYOND_LIMIT)
    return rule.anchor, rule.days * MINUTES_A_DAY or rule.minutes


def _within(call: Call, param: str, value: int, limit: int) -> None:
    if value == NEVER and call.lets(profiles.ZERO):
        return
    if value < 1:
        raise errors.TOO_SMALL_INTEGER(param=param, limit=1, value=value)
    if value > limit:
        raise errors.TOO_LARGE_INTEGER(param=param, limit=limit, value=value)


def _policy(policy: schema.NetworkPolicyDisabled | schema.NetworkPolicyAllowlist | None) -> str | None:
    """What is kept of a network policy, and shown: never its secrets."""
    if policy is None:
        return None
    shown: dict[str, Any] = {"type": policy.type}
    if policy.type == "allowlist":
        shown["allowed_domains"] = policy.allowed_domains
    return json.dumps(shown)


def expires_at(row: tables.Container, active_at: int | None = None) -> int | None:
    """When it expires unless it is used; None: never. `active_at` where other activity than the row's counts."""
    if row.expires_minutes == NEVER:
        return None
    active = row.last_active_at if active_at is None else active_at
    return (row.created_at if row.expires_anchor == "created_at" else active) + row.expires_minutes * 60


def expired(row: tables.Container, now: int) -> bool:
    at = expires_at(row)
    return at is not None and at <= now


def shown(row: tables.Container, now: int, active_at: int | None = None, running: str = "running") -> schema.Container:
    """As of `now`; `active_at` where the answer shows other activity than the row remembers."""
    container: schema.Container = {
        "id": row.id,
        "object": "container",
        "created_at": row.created_at,
        "status": "expired" if expired(row, now) else running,  # type: ignore[typeddict-item]  # a switch has these alone
        "expires_after": {"anchor": row.expires_anchor, "minutes": row.expires_minutes},  # type: ignore[typeddict-item]  # checked when it came in
        "last_active_at": row.last_active_at if active_at is None else active_at,
        "memory_limit": row.memory_limit,  # type: ignore[typeddict-item]  # checked when it came in
        "name": row.name,
    }
    if row.expires_minutes == NEVER:
        del container["expires_after"]
    if row.network_policy:
        container["network_policy"] = json.loads(row.network_policy)
    return container


def shown_file(row: tables.ContainerFile) -> schema.ContainerFile:
    return {
        "id": row.id,
        "object": "container.file",
        "created_at": row.created_at,
        "bytes": row.bytes,
        "container_id": row.container_id,
        "path": row.path,
        "source": row.source,  # type: ignore[typeddict-item]  # checked when it came in
    }


def graves(container_id: str) -> str:
    return f"containers/{container_id}"
