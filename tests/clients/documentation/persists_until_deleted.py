"""Add a note to a container that was created earlier without an expiry."""

from openai import OpenAI

with OpenAI() as client:
    notebook = next((each for each in client.containers.list() if each.name == "notebook"), None)
    if notebook is None:
        notebook = client.containers.create(name="notebook")
    client.containers.files.create(notebook.id, file=("note.txt", b"Look at January."))
    print(f"{len(client.containers.files.list(notebook.id).data)} notes in {notebook.id}")
