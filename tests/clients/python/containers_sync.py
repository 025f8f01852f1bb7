"""Create a container with Files, list and delete the copies, and clean up."""

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

# Add another File; its copy can be retrieved by its own id or the File's id.
added = client.containers.files.create(container.id, file_id=script.id)
found = client.containers.files.retrieve(container_id=container.id, file_id=script.id)
assert found.id == added.id, "the File's id finds its copy in the container"
print(f"Added {script.filename} as {found.path}")

files = list(client.containers.files.list(container_id=container.id))
assert {file.path.rpartition("-")[2] for file in files} == {"report.csv", "sum.py"}
print(f"The container holds {len(files)} files")

content = client.containers.files.content.retrieve(report.id, container_id=container.id)
assert content.text == "city,people\nOslo,717710\n"

client.containers.files.delete(container_id=container.id, file_id=script.id)
assert len(client.containers.files.list(container.id).data) == 1
assert client.files.retrieve(script.id).filename == "sum.py", "deleting the copy does not delete the File"
print(f"Removed {script.filename} from the container; the File is still there")

assert container.id in [each.id for each in client.containers.list()]
client.containers.delete(container.id)
try:
    client.containers.retrieve(container.id)
    raise SystemExit("the deleted container still exists")
except NotFoundError:
    print("Deleted the container")

assert client.files.retrieve(report.id).status == "processed", "deleting a container does not delete its Files"
for file in (report, script):
    assert client.files.delete(file.id).deleted
print("Deleted the Files")
