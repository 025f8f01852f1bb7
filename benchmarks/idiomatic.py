"""The baseline: the same API in the style of the tutorials of FastAPI and SQLModel.

It uses `def` routes, a session for each request from a dependency, request and response models, `UploadFile`
and `FileResponse`. So that only the style differs, SQLite uses the server's settings (WAL, `synchronous=NORMAL`),
lists use an index and keyset pagination, and a retrieval writes at most once per second.
"""

import shutil
import time
import uuid  # noqa: TID251  # the rule is for the server's code
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Form, HTTPException, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel
from sqlalchemy import Index, event, tuple_
from sqlmodel import Field, Session, SQLModel, col, create_engine, select

CONTENTS = Path("contents")


def now() -> int:
    return int(time.time())  # noqa: TID251  # as above


class ContainerBase(SQLModel):
    name: str
    memory_limit: str = "1g"


class Container(ContainerBase, table=True):
    __table_args__ = (Index("listed", "created_at", "id"),)

    id: str = Field(default_factory=lambda: f"cntr_{uuid.uuid4().hex}", primary_key=True)
    created_at: int = Field(default_factory=now)
    last_active_at: int = Field(default_factory=now)
    expires_minutes: int = 20


class ExpiresAfter(BaseModel):
    anchor: str = "last_active_at"
    minutes: int = 20


class ContainerCreate(ContainerBase):
    expires_after: ExpiresAfter = ExpiresAfter()


class ContainerPublic(ContainerBase):
    id: str
    object: str = "container"
    created_at: int
    status: str
    expires_after: ExpiresAfter
    last_active_at: int


class ContainerList(BaseModel):
    object: str = "list"
    data: list[ContainerPublic]
    first_id: str | None
    has_more: bool
    last_id: str | None


class File(SQLModel, table=True):
    id: str = Field(default_factory=lambda: f"file-{uuid.uuid4().hex}", primary_key=True)
    created_at: int = Field(default_factory=now)
    bytes: int
    filename: str
    purpose: str


class FilePublic(BaseModel):
    object: str = "file"
    id: str
    purpose: str
    filename: str
    bytes: int
    created_at: int
    status: str = "processed"


engine = create_engine("sqlite:///database.db", connect_args={"check_same_thread": False})


@event.listens_for(engine, "connect")
def prepare(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session)]

SQLModel.metadata.create_all(engine)
CONTENTS.mkdir(exist_ok=True)
app = FastAPI()


def public(container: Container) -> ContainerPublic:
    expired = now() >= container.last_active_at + container.expires_minutes * 60
    return ContainerPublic(
        **container.model_dump(exclude={"expires_minutes"}),
        status="expired" if expired else "running",
        expires_after=ExpiresAfter(minutes=container.expires_minutes),
    )


@app.get("/containers")
def list_containers(
    session: SessionDep, after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> ContainerList:
    position = tuple_(col(Container.created_at), col(Container.id))
    statement = select(Container).order_by(col(Container.created_at).desc(), col(Container.id).desc())
    if after:
        cursor = session.get(Container, after)
        if not cursor:
            raise HTTPException(status_code=400, detail="Unknown cursor")
        statement = statement.where(position < (cursor.created_at, cursor.id))
    containers = session.exec(statement.limit(limit + 1)).all()
    data = [public(container) for container in containers[:limit]]
    ends = (data[0].id, data[-1].id) if data else (None, None)
    return ContainerList(data=data, first_id=ends[0], has_more=len(containers) > limit, last_id=ends[1])


@app.post("/containers")
def create_container(body: ContainerCreate, session: SessionDep) -> ContainerPublic:
    container = Container(name=body.name, memory_limit=body.memory_limit, expires_minutes=body.expires_after.minutes)
    session.add(container)
    session.commit()
    session.refresh(container)
    return public(container)


@app.get("/containers/{container_id}")
def retrieve_container(container_id: str, session: SessionDep) -> ContainerPublic:
    container = session.get(Container, container_id)
    if not container:
        raise HTTPException(status_code=404, detail="Container not found")
    if container.last_active_at < now():
        container.last_active_at = now()
        session.add(container)
        session.commit()
        session.refresh(container)
    return public(container)


@app.post("/files")
def create_file(file: UploadFile, purpose: Annotated[str, Form()], session: SessionDep) -> FilePublic:
    row = File(bytes=file.size or 0, filename=file.filename or "upload", purpose=purpose)
    with (CONTENTS / row.id).open("wb") as target:
        shutil.copyfileobj(file.file, target)
    session.add(row)
    session.commit()
    session.refresh(row)
    return FilePublic(**row.model_dump())


@app.get("/files/{file_id}")
def retrieve_file(file_id: str, session: SessionDep) -> FilePublic:
    row = session.get(File, file_id)
    if not row:
        raise HTTPException(status_code=404, detail="File not found")
    return FilePublic(**row.model_dump())


@app.get("/files/{file_id}/content")
def download_file(file_id: str, session: SessionDep) -> FileResponse:
    row = session.get(File, file_id)
    if not row:
        raise HTTPException(status_code=404, detail="File not found")
    return FileResponse(CONTENTS / row.id, media_type="application/octet-stream", filename=row.filename)
