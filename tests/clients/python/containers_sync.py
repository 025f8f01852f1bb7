"""Give a container Files to work on, look after them there, and clean up."""

from openai import NotFoundError, OpenAI

client = OpenAI()

report = client.files.create(file=("report.csv", b"city,people\nOslo,717710\n"), purpose="user_data")
script = client.files.create(file=("sum.py", b"print(717710)\n"), purpose="user_data")

container = client.containers.create(
    name="Population",
    file_ids=[report.id],
    expires_after={"anchor": "created_at", "days": 7},
)
print(f"Created container {container.id}")

# Add another File; in the container it goes by its own id or by the File's.
added = client.containers.files.create(container.id, file_id=script.id)
found = client.containers.files.retrieve(container_id=container.id, file_id=script.id)
assert found.id == added.id, "the File's id names its copy in the container"
print(f"Added {script.filename} as {found.path}")

files = list(client.containers.files.list(container_id=container.id))
assert {file.path.rpartition("-")[2] for file in files} == {"report.csv", "sum.py"}
print(f"The container holds {len(files)} files")

content = client.containers.files.content.retrieve(report.id, container_id=container.id)
assert content.text == "city,people\nOslo,717710\n"

client.containers.files.delete(container_id=container.id, file_id=script.id)
assert len(client.containers.files.list(container.id).data) == 1
assert client.files.retrieve(script.id).filename == "sum.py", "only the copy is gone"
print(f"Removed {script.filename} from the container; the File is still there")

assert container.id in [each.id for each in client.containers.list()]
client.containers.delete(container.id)
try:
    client.containers.retrieve(container.id)
    raise SystemExit("the container outlived its deletion")
except NotFoundError:
    print("Deleted the container")

assert client.files.retrieve(report.id).status == "processed", "a File outlives the containers it is in"
for file in (report, script):
    assert client.files.delete(file.id).deleted
print("Deleted the Files")
