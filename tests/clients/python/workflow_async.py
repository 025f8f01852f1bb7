"""Call the operations of workflow.py for several containers concurrently."""

import asyncio

from openai import AsyncOpenAI, BadRequestError, NotFoundError

REQUESTS = b'{"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {"input": "Hello"}}\n'


async def work(client: AsyncOpenAI, container_id: str, requests_id: str) -> int:
    """Add files to a container, check and delete them; return the number of bytes downloaded."""
    files = client.containers.files
    upload, copied = await asyncio.gather(
        files.create(container_id, file=("notes.txt", container_id.encode())),
        files.create(container_id, file_id=requests_id),
    )
    assert (await files.retrieve(copied.id, container_id=container_id)).bytes == copied.bytes
    assert len([file.id async for file in files.list(container_id, limit=1)]) == 3

    content = await files.content.retrieve(upload.id, container_id=container_id)
    assert content.text == container_id

    await files.delete(upload.id, container_id=container_id)
    await client.containers.delete(container_id)
    return len(content.content)


async def main() -> None:
    async with AsyncOpenAI() as client:
        cities, requests = await asyncio.gather(
            client.files.create(file=("cities.csv", b"city,people\nOslo,717710\n"), purpose="user_data"),
            client.files.create(file=("requests.jsonl", REQUESTS), purpose="batch"),
        )
        containers = await asyncio.gather(
            *(client.containers.create(name=f"Worker {number}", file_ids=[cities.id]) for number in range(5))
        )
        print(f"Created {len(containers)} containers")

        # The loop fetches pages as it needs them.
        listed = [container.id async for container in client.containers.list(limit=2)]
        assert sorted(listed) == sorted(container.id for container in containers)
        assert (await client.containers.retrieve(listed[0])).status == "running"
        print(f"Listed {len(listed)} containers, two at a time")

        sizes = await asyncio.gather(*(work(client, container.id, requests.id) for container in containers))
        print(f"Downloaded {sum(sizes)} bytes")

        assert len([file.id async for file in client.files.list(limit=1)]) == 2
        assert (await client.files.content(requests.id)).content == REQUESTS
        # Upload a large File in parts, several at once.
        parts = [REQUESTS[start : start + 30] for start in range(0, len(REQUESTS), 30)]
        upload = await client.uploads.create(
            filename="large.jsonl", bytes=len(REQUESTS), mime_type="application/jsonl", purpose="batch"
        )
        sent = await asyncio.gather(*(client.uploads.parts.create(upload.id, data=part) for part in parts))
        large = (await client.uploads.complete(upload.id, part_ids=[part.id for part in sent])).file
        assert (await client.files.content(large.id)).content == REQUESTS
        print(f"Sent {large.bytes} bytes in {len(sent)} parts")

        for file in (cities, requests, large):
            assert (await client.files.retrieve(file.id)).filename == file.filename
            await client.files.delete(file.id)
        print("Deleted everything")

        try:
            await client.containers.retrieve(listed[0])
        except NotFoundError as error:
            print(error.status_code, error.body["message"])
        try:
            await client.containers.list(limit=1000)
        except BadRequestError as error:
            print(error.status_code, error.param, error.code)


asyncio.run(main())
