"""Call every operation on containers and their files, Files and uploads, one after another."""

import hashlib

from openai import BadRequestError, NotFoundError, OpenAI

client = OpenAI()

REQUESTS = b'{"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {"input": "Hello"}}\n'

# Upload a File, and create a container with a copy of it.
cities = client.files.create(file=("cities.csv", b"city,people\nOslo,717710\n"), purpose="user_data")
container = client.containers.create(
    name="Population",
    file_ids=[cities.id],
    expires_after={"anchor": "last_active_at", "minutes": 20},
)
print(f"Created {container.name}, {container.status}")

# Add two more files: an upload, and a copy of another File.
upload = client.containers.files.create(container.id, file=("notes.txt", "Tromsø is missing.\n".encode()))
requests = client.files.create(file=("requests.jsonl", REQUESTS), purpose="batch")
copied = client.containers.files.create(container.id, file_id=requests.id)
print(f"Uploaded {upload.bytes} bytes, and copied {copied.bytes}")

# The loop fetches pages as it needs them; `.data` is the items of one page.
files = [file.path for file in client.containers.files.list(container.id, order="asc", limit=1)]
assert len(files) == 3
assert len(client.containers.files.list(container.id, limit=1).data) == 1
assert container.id in [each.id for each in client.containers.list()]
assert [file.id for file in client.files.list(purpose="batch")] == [requests.id]
print(f"Listed {len(files)} files")

# Download content as text or bytes.
content = client.containers.files.content.retrieve(upload.id, container_id=container.id)
assert content.text == "Tromsø is missing.\n"
assert client.files.content(requests.id).read() == REQUESTS
print(f"Downloaded {len(content.read())} bytes")

# Upload a large File in parts of up to 64 MiB, with the helper, or one by one in any order.
large = client.uploads.upload_file_chunked(
    file=REQUESTS * 3,
    filename="large.jsonl",
    bytes=len(REQUESTS) * 3,
    mime_type="application/jsonl",
    purpose="batch",
    part_size=100,
).file
new = {"filename": "own.jsonl", "bytes": len(REQUESTS), "mime_type": "application/jsonl", "purpose": "batch"}
own = client.uploads.create(**new)
end, start = (client.uploads.parts.create(own.id, data=part).id for part in (REQUESTS[50:], REQUESTS[:50]))
md5 = hashlib.md5(REQUESTS).hexdigest()
joined = client.uploads.complete(own.id, part_ids=[start, end], md5=md5).file
assert client.files.content(joined.id).read() == REQUESTS
assert client.uploads.cancel(client.uploads.create(**new).id).status == "cancelled"
print(f"Sent {large.bytes} bytes in parts")

# Retrieve objects by their ids.
assert client.containers.retrieve(container.id).created_at == container.created_at
assert client.containers.files.retrieve(copied.id, container_id=container.id).path == copied.path
assert client.files.retrieve(cities.id).filename == "cities.csv"

client.containers.files.delete(upload.id, container_id=container.id)
client.containers.delete(container.id)
for file in (cities, requests, large, joined):  # deleting a container does not delete its Files
    assert client.files.delete(file.id).deleted
print("Deleted everything")

# Each kind of error has its exception, with the API's message.
try:
    client.containers.retrieve(container.id)
except NotFoundError as error:
    print(error.status_code, error.body["message"])
try:
    client.containers.list(limit=1000)
except BadRequestError as error:
    print(error.status_code, error.param, error.code)
