"""Read a container's expiry, its number of files, and the ids of the Files that they were copied from."""

from openai import OpenAI

with OpenAI() as client:
    file = client.files.create(file=("sales.csv", b"month,revenue\n"), purpose="user_data")
    rule = {"anchor": "last_active_at", "minutes": 20}
    container = client.containers.create(name="analysis", file_ids=[file.id], expires_after=rule)

    container = client.containers.retrieve(container.id)
    print(f"{container.file_count} file, until {container.expires_at}")
    for container_file in client.containers.files.list(container.id):
        print(f"{container_file.path} is {container_file.file_id}")
        assert container_file.file_id == file.id
