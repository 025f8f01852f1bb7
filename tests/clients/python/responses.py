"""Read status and headers of raw responses, and stream content that is too large for memory."""

import asyncio
import hashlib
import tempfile
from pathlib import Path

from openai import AsyncOpenAI, NotFoundError, OpenAI

DATA = bytes(range(256)) * 8192


def blocking(client: OpenAI) -> tuple[str, str]:
    # A raw response has status and headers; `parse()` returns the model.
    response = client.containers.with_raw_response.create(name="Responses")
    container = response.parse()
    assert response.headers["x-request-id"].startswith("req_")
    print(response.status_code, response.headers["content-type"], container.name)

    upload = client.containers.files.with_raw_response.create(container.id, file=("data.bin", DATA)).parse()
    page = client.containers.with_raw_response.list(limit=1)
    print(page.status_code, [each.name for each in page.parse()])

    # A streaming response reads the body on demand, in chunks or into a file.
    files = client.containers.files.content.with_streaming_response
    with tempfile.TemporaryDirectory() as folder:
        with files.retrieve(upload.id, container_id=container.id) as content:
            print(content.status_code, content.headers["content-length"])
            content.stream_to_file(Path(folder, "data.bin"))
        assert Path(folder, "data.bin").read_bytes() == DATA

    # An error is raised before the body is read, so that it is not mistaken for content.
    try:
        with files.retrieve("cfile_0", container_id=container.id):
            raise SystemExit("there is no such file")
    except NotFoundError as error:
        print(error.status_code, error.body["message"])
    return container.id, upload.id


async def asynchronous(client: AsyncOpenAI, container_id: str, file_id: str) -> None:
    response = await client.containers.with_raw_response.retrieve(container_id)
    print(response.status_code, response.parse().status)

    digest = hashlib.sha256()
    files = client.containers.files.content.with_streaming_response
    async with files.retrieve(file_id, container_id=container_id) as content:
        async for chunk in content.iter_bytes(65536):
            digest.update(chunk)
    assert digest.digest() == hashlib.sha256(DATA).digest()
    print("Streamed the same bytes")

    async with client.containers.with_streaming_response.delete(container_id) as response:
        print(response.status_code, await response.json())


async def main() -> None:
    with OpenAI() as client:
        container_id, file_id = await asyncio.to_thread(blocking, client)
    async with AsyncOpenAI() as client:
        await asynchronous(client, container_id, file_id)


asyncio.run(main())
