"""Call every operation on skills, one after another."""

import io
import zipfile

from openai import BadRequestError, NotFoundError, OpenAI

client = OpenAI()

MANIFEST = "---\nname: basic-math\ndescription: {}\n---\nRun run.py.\n"

# Upload a folder: the name of each file is its path. Open files would be sent without their folder.
skill = client.skills.create(
    files=[
        ("basic_math/SKILL.md", MANIFEST.format("Add numbers.").encode(), "text/markdown"),
        ("basic_math/run.py", b"print(1 + 1)\n", "text/x-python"),
    ]
)
print(f"Created {skill.name}: {skill.description}")

# Upload a zip as a new version, in a list, because openai 2.32 to 3.19.1 do not send a single file.
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w") as archive:
    archive.writestr("basic_math/SKILL.md", MANIFEST.format("Add or multiply numbers."))
version = client.skills.versions.create(skill.id, files=[("basic_math.zip", packed.getvalue())])
assert client.skills.retrieve(skill.id).latest_version == version.version == "2"

# A new version is the latest one, but becomes the default only by an update.
assert client.skills.content.retrieve(skill.id).read().startswith(b"PK")
assert client.skills.versions.content.retrieve("2", skill_id=skill.id).read() == packed.getvalue()
print(f"Updated to: {client.skills.update(skill.id, default_version='2').description}")

# The loop fetches pages as it needs them.
assert [each.id for each in client.skills.list(limit=1)] == [skill.id]
versions = [each.version for each in client.skills.versions.list(skill.id, order="asc", limit=1)]
assert client.skills.versions.retrieve("1", skill_id=skill.id).description == "Add numbers."
print(f"Listed {versions}")

# A container copies its skills when it is created, and keeps them after they are deleted.
container = client.containers.create(
    name="Numbers",
    skills=[
        {"type": "skill_reference", "skill_id": skill.id},
        {"type": "skill_reference", "skill_id": skill.id, "version": "1"},
        {"type": "skill_reference", "skill_id": skill.id, "version": "latest"},
    ],
)
client.skills.versions.delete("1", skill_id=skill.id)
try:
    client.skills.create(files=[("SKILL.md", MANIFEST.encode(), "text/markdown")])
except BadRequestError as error:
    print(error.status_code, error.body["message"])
client.skills.delete(skill.id)
client.containers.delete(container.id)
try:
    client.skills.retrieve(skill.id)
except NotFoundError as error:
    print(error.status_code, error.body["message"])
