"""The openai package, with a LiteLLM proxy between it and the API: behind_proxy python proxied.py

A proxy takes uploads into containers, but no `file_id`: copies come along when the container is made.
"""

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
