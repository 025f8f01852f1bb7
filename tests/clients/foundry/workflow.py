"""Call every operation on containers, files, uploads and skills through an Azure Foundry project."""

import io
import os
import zipfile

from azure.ai.projects import AIProjectClient
from azure.core.credentials import AccessToken
from openai import BadRequestError, NotFoundError

REQUESTS = b'{"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {"input": "Hello"}}\n'


class AnyToken:
    """Replaces `DefaultAzureCredential()`: the mock accepts any token."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken("any-token", 4_000_000_000)  # expires in 2096


endpoint = os.environ["OPENAI_BASE_URL"].removesuffix("/v1") + "/api/projects/demo"
project = AIProjectClient(endpoint=endpoint, credential=AnyToken())
client = project.get_openai_client()

cities = client.files.create(file=("cities.csv", b"city,people\nOslo,717710\n"), purpose="user_data")
container = client.containers.create(name="Population", file_ids=[cities.id])
print(f"Created {container.name}, {container.status}")

upload = client.containers.files.create(container.id, file=("notes.txt", b"Look at January.\n"))
requests = client.files.create(file=("requests.jsonl", REQUESTS), purpose="batch")
copied = client.containers.files.create(container.id, file_id=requests.id)
print(f"Uploaded {upload.bytes} bytes, and copied {copied.bytes}")

files = [file.path for file in client.containers.files.list(container.id, limit=1)]
assert len(files) == 3
assert container.id in [each.id for each in client.containers.list()]
assert [file.id for file in client.files.list(purpose="batch")] == [requests.id]
print(f"Listed {len(files)} files")

content = client.containers.files.content.retrieve(upload.id, container_id=container.id)
assert client.files.content(requests.id).read() == REQUESTS
print(f"Downloaded {len(content.read())} bytes")

# Upload a large file in parts: split by the client, or put in order on completion.
chunked = {"mime_type": "application/jsonl", "purpose": "batch"}
large = client.uploads.upload_file_chunked(
    file=REQUESTS, filename="large.jsonl", bytes=len(REQUESTS), part_size=32, **chunked
).file
new = {"filename": "large.jsonl", "bytes": len(REQUESTS), **chunked}
own = client.uploads.create(**new)
end, start = (client.uploads.parts.create(own.id, data=part).id for part in (REQUESTS[50:], REQUESTS[:50]))
joined = client.uploads.complete(own.id, part_ids=[start, end]).file
assert client.uploads.cancel(client.uploads.create(**new).id).status == "cancelled"
print(f"Sent {large.bytes} and {joined.bytes} bytes in parts")

# Create a skill from a folder, and its next version from a zip.
manifest = b"---\nname: basic-math\ndescription: Add numbers.\n---\n"
skill = client.skills.create(files=[("basic_math/SKILL.md", manifest), ("basic_math/run.py", b"print(1 + 1)\n")])
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w") as archive:
    archive.writestr("basic_math/SKILL.md", manifest)
version = client.skills.versions.create(skill.id, files=[("basic_math.zip", packed.getvalue())])
assert client.skills.update(skill.id, default_version=version.version).default_version == "2"
assert client.skills.retrieve(skill.id).latest_version == "2"
assert client.skills.versions.retrieve("1", skill_id=skill.id).name == "basic-math"
assert client.skills.content.retrieve(skill.id).read() == packed.getvalue()
assert client.skills.versions.content.retrieve("2", skill_id=skill.id).read() == packed.getvalue()
versions = [each.version for each in client.skills.versions.list(skill.id, order="asc", limit=1)]
assert [each.id for each in client.skills.list()] == [skill.id]
numbers = client.containers.create(name="Numbers", skills=[{"type": "skill_reference", "skill_id": skill.id}])
client.skills.versions.delete("1", skill_id=skill.id)
client.skills.delete(skill.id)
client.containers.delete(numbers.id)
print(f"Used the skill {skill.name} with versions {versions}")

assert client.containers.retrieve(container.id).created_at == container.created_at
assert client.containers.files.retrieve(copied.id, container_id=container.id).path == copied.path
assert client.files.retrieve(cities.id).filename == "cities.csv"

client.containers.files.delete(upload.id, container_id=container.id)
client.containers.delete(container.id)
for file in (cities, requests, large, joined):
    assert client.files.delete(file.id).deleted
print("Deleted everything")

# Azure has its own message for objects that do not exist.
try:
    client.containers.retrieve(container.id)
except NotFoundError as error:
    print(error.status_code, error.body["message"])
try:
    client.containers.list(limit=1000)
except BadRequestError as error:
    print(error.status_code, error.param, error.code)
client.close()
project.close()
