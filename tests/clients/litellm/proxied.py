"""Call the API with the openai package through a LiteLLM proxy: behind_proxy python proxied.py

The proxy accepts uploads to containers, but no `file_id`: Files are copied when the container is created. The proxy has
no routes for uploads in parts and skills; its `/openai` forwards them.
"""

import io
import zipfile

from openai import BadRequestError, NotFoundError, OpenAI

REQUESTS = b'{"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {"input": "Hello"}}\n'

with OpenAI() as client:
    requests = client.files.create(file=("requests.jsonl", REQUESTS), purpose="batch")
    container = client.containers.create(name="Proxied", file_ids=[requests.id])
    upload = client.containers.files.create(container.id, file=("notes.txt", b"Oslo"))
    print(f"Created {container.name}, uploaded {upload.bytes} bytes")

    assert len([file.id for file in client.containers.files.list(container.id, limit=1)]) == 2
    assert [each.id for each in client.containers.list()] == [container.id]
    assert [each.filename for each in client.files.list()] == ["requests.jsonl"]
    assert client.containers.retrieve(container.id).status == "running"
    assert client.containers.files.retrieve(upload.id, container_id=container.id).path == upload.path
    assert client.files.retrieve(requests.id).bytes == len(REQUESTS)
    content = client.containers.files.content.retrieve(upload.id, container_id=container.id)
    assert client.files.content(requests.id).read() == REQUESTS
    print(f"Downloaded {content.text}")

    passthrough = client.with_options(base_url=str(client.base_url).removesuffix("/v1/") + "/openai")
    new = {"filename": "own.jsonl", "bytes": len(REQUESTS), "mime_type": "application/jsonl", "purpose": "batch"}
    large = passthrough.uploads.upload_file_chunked(file=REQUESTS, part_size=32, **new).file
    assert passthrough.files.content(large.id).read() == REQUESTS
    passthrough.files.delete(large.id)
    assert passthrough.uploads.cancel(passthrough.uploads.create(**new).id).status == "cancelled"
    print(f"Sent {large.bytes} bytes in parts")

    manifest = b"---\nname: basic-math\ndescription: Add numbers.\n---\n"
    skill = passthrough.skills.create(
        files=[("basic_math/SKILL.md", manifest), ("basic_math/run.py", b"print(1 + 1)\n")]
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("basic_math/SKILL.md", manifest)
    version = passthrough.skills.versions.create(skill.id, files=[("basic_math.zip", packed.getvalue())])
    assert passthrough.skills.update(skill.id, default_version=version.version).default_version == "2"
    assert passthrough.skills.retrieve(skill.id).latest_version == "2"
    assert passthrough.skills.versions.retrieve("1", skill_id=skill.id).name == "basic-math"
    assert passthrough.skills.content.retrieve(skill.id).read() == packed.getvalue()
    assert passthrough.skills.versions.content.retrieve("2", skill_id=skill.id).read() == packed.getvalue()
    versions = [each.version for each in passthrough.skills.versions.list(skill.id, order="asc", limit=1)]
    assert [each.id for each in passthrough.skills.list()] == [skill.id]
    passthrough.skills.versions.delete("1", skill_id=skill.id)
    passthrough.skills.delete(skill.id)
    print(f"Created the skill {skill.name} with versions {versions}")

    client.containers.files.delete(upload.id, container_id=container.id)
    client.containers.delete(container.id)
    client.files.delete(requests.id)
    print("Deleted everything")

    try:
        client.containers.retrieve(container.id)
    except NotFoundError as error:
        print(error.status_code, error.body["message"])
    try:
        client.containers.list(limit=1000)
    except BadRequestError as error:
        print(error.status_code, error.body["message"])
