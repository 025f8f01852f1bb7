"""Copy a File into a container, then retrieve and delete the copy by the File's id."""

from openai import OpenAI

with OpenAI() as client:
    file = client.files.create(file=("sales.csv", b"month,revenue\n"), purpose="user_data")
    container = client.containers.create(name="analysis", file_ids=[file.id])

    copy = client.containers.files.retrieve(container_id=container.id, file_id=file.id)
    print(f"{file.id} is there as {copy.path}")

    client.containers.files.delete(container_id=container.id, file_id=file.id)
    print("and now it is gone")
