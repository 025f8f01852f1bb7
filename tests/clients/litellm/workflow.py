"""Call LiteLLM's functions for containers and Files, synchronous and asynchronous."""

import asyncio

import litellm
from litellm.containers import (
    acreate_container,
    adelete_container,
    adelete_container_file,
    alist_container_files,
    alist_containers,
    aretrieve_container,
    aretrieve_container_file,
    aretrieve_container_file_content,
    create_container,
    delete_container,
    delete_container_file,
    list_container_files,
    list_containers,
    retrieve_container,
    retrieve_container_file,
    retrieve_container_file_content,
)

litellm.suppress_debug_info = True
NOTES = ("notes.txt", "Tromsø is missing.\n".encode(), "text/plain")


def sequential() -> None:
    cities = litellm.create_file(
        file=("cities.jsonl", b'{"city": "Oslo"}\n'), purpose="batch", custom_llm_provider="openai"
    )
    container = create_container(
        name="Population",
        file_ids=[cities.id],
        expires_after={"anchor": "last_active_at", "minutes": 20},
    )
    print(f"Created {container.name}, {container.status}")

    upload = litellm.upload_container_file(container.id, file=NOTES)
    content = retrieve_container_file_content(container_id=container.id, file_id=upload.id)
    assert content == NOTES[1]
    assert litellm.file_content(cities.id, custom_llm_provider="openai").content == b'{"city": "Oslo"}\n'
    print(f"Uploaded {upload.bytes} bytes, downloaded {len(content)}")

    # Fetch page by page: `after` is the last id of the previous page.
    page = list_container_files(container_id=container.id, limit=1)
    assert page.has_more
    rest = list_container_files(container_id=container.id, limit=1, after=page.last_id)
    assert {page.data[0].id, rest.data[0].id} >= {upload.id}
    assert container.id in [each.id for each in list_containers().data]
    assert retrieve_container(container.id).status == "running"
    assert retrieve_container_file(container_id=container.id, file_id=upload.id).path == upload.path
    assert [each.id for each in litellm.file_list(custom_llm_provider="openai")] == [cities.id]
    assert litellm.file_retrieve(cities.id, custom_llm_provider="openai").filename == "cities.jsonl"

    assert delete_container_file(container_id=container.id, file_id=upload.id).deleted
    assert delete_container(container.id).deleted
    assert litellm.file_delete(cities.id, custom_llm_provider="openai").deleted
    print("Deleted everything")

    # LiteLLM's exceptions are subclasses of those of the openai package.
    try:
        retrieve_container(container.id)
    except litellm.NotFoundError as error:
        print(error.status_code, error.message)


async def concurrent() -> None:
    async def work(name: str) -> int:
        container = await acreate_container(name=name)
        upload = await litellm.aupload_container_file(container.id, file=NOTES)
        here = {"container_id": container.id, "file_id": upload.id}
        assert [each.id for each in (await alist_container_files(container_id=container.id)).data] == [upload.id]
        assert (await aretrieve_container_file(**here)).source == "user"
        content = await aretrieve_container_file_content(**here)
        assert (await aretrieve_container(container.id)).name == name
        await adelete_container_file(**here)
        await adelete_container(container.id)
        return len(content)

    sizes = await asyncio.gather(*(work(f"Worker {number}") for number in range(3)))
    print(f"Downloaded {sum(sizes)} bytes")
    try:
        await alist_containers(limit=1000)
    except litellm.BadRequestError as error:
        print(error.status_code, error.message)


sequential()
asyncio.run(concurrent())
