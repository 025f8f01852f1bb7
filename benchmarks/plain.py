"""Bare FastAPI: `async` routes that return a constant model, and upload and download as in the tutorial.

SQLModel is imported only for its import time, which comparable applications pay at start.
"""

from pathlib import Path
from typing import Literal

import sqlmodel  # noqa: F401  # its import time is part of the start
from fastapi import FastAPI, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel

app = FastAPI()


class Expiry(BaseModel):
    anchor: Literal["last_active_at"] = "last_active_at"
    minutes: int = 20


class Container(BaseModel):
    id: str = "cntr_6a3c1c1024a8819892cfe6b854387cea0bb1797a3699251c"
    object: Literal["container"] = "container"
    created_at: int = 1782324240
    status: Literal["running", "expired"] = "running"
    expires_after: Expiry = Expiry()
    last_active_at: int = 1782324240
    memory_limit: str = "1g"
    name: str = "box"


CONSTANT = Container()


@app.get("/containers/{container_id}")
async def retrieve(container_id: str) -> Container:
    return CONSTANT


@app.post("/containers")
async def create() -> Container:
    return CONSTANT


@app.post("/files")
async def upload(file: UploadFile) -> dict[str, int | None]:
    """Parse an upload with Starlette, without storing it."""
    return {"bytes": file.size}


@app.get("/files/{size}/content")
async def download(size: int) -> FileResponse:
    """Send the file of the working directory that is named by its size."""
    return FileResponse(Path(str(size)), media_type="application/octet-stream")
