"""Create a container and use it when it is active."""

from openai import OpenAI

with OpenAI() as client:
    container = client.containers.create(name="analysis")
    if container.status != "active":
        raise RuntimeError(f"the container is not active but {container.status}")
    client.containers.files.create(container.id, file=("notes.txt", b"Look at January."))
    print(f"{container.id} is {container.status}")
