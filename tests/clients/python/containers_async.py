"""Create several containers concurrently, list them page by page, and delete them."""

import asyncio

from openai import AsyncOpenAI, NotFoundError


async def main() -> None:
    async with AsyncOpenAI() as client:
        data = await client.files.create(file=("data.json", b'{"answer": 42}'), purpose="user_data")

        containers = await asyncio.gather(
            *(
                client.containers.create(
                    name=f"Worker {number}",
                    file_ids=[data.id],
                    expires_after={"anchor": "created_at", "days": 7},
                )
                for number in range(5)
            )
        )
        print(f"Created {len(containers)} containers")

        # The loop fetches pages as it needs them.
        listed = [container.id async for container in client.containers.list(limit=2)]
        assert sorted(listed) == sorted(container.id for container in containers)
        print(f"Listed {len(listed)} containers, two at a time")

        async def work(container_id: str) -> None:
            files = client.containers.files
            notes = await files.create(container_id, file=("notes.txt", container_id.encode()))
            content = await files.content.retrieve(notes.id, container_id=container_id)
            assert content.text == container_id

            copy = await files.retrieve(container_id=container_id, file_id=data.id)
            assert copy.bytes == data.bytes
            await files.delete(container_id=container_id, file_id=data.id)
            assert [file.id async for file in files.list(container_id)] == [notes.id]

        await asyncio.gather(*(work(container.id) for container in containers))
        print("Wrote notes to each, and removed the data from each")

        await asyncio.gather(*(client.containers.delete(container.id) for container in containers))
        try:
            await client.containers.retrieve(containers[0].id)
            raise SystemExit("the deleted container still exists")
        except NotFoundError:
            print("Deleted the containers")

        assert (await client.files.retrieve(data.id)).id == data.id, "deleting a container does not delete its Files"
        await client.files.delete(data.id)
        print("Deleted the File")


asyncio.run(main())
