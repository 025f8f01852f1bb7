"""All that there is to do with containers and their files through a project of Azure's Foundry."""

import os

from azure.ai.projects import AIProjectClient
from azure.core.credentials import AccessToken
from openai import BadRequestError, NotFoundError

REQUESTS = b'{"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {"input": "Hello"}}\n'


class AnyToken:
    """Stands for `DefaultAzureCredential()`: the mock accepts any token."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken("any-token", 4_000_000_000)  # expires in the year 2096


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

assert client.containers.retrieve(container.id).created_at == container.created_at
assert client.containers.files.retrieve(copied.id, container_id=container.id).path == copied.path
assert client.files.retrieve(cities.id).filename == "cities.csv"

client.containers.files.delete(upload.id, container_id=container.id)
client.containers.delete(container.id)
for file in (cities, requests):
    assert client.files.delete(file.id).deleted
print("Deleted everything")

# Azure's gateway has its own words for what is not there.
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
