"""Skills: read, add and delete them, and read the files of their versions."""

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from mockserver.admin import skills
from mockserver.admin.lists import NamedQuery
from mockserver.admin.skills import AdminSkill, AdminSkillVersion, FoundSkills, SkillFiles
from mockserver.control.bodies import add_objects, described, json_like
from mockserver.control.contents import PREVIEWED, PreviewBytes, contents, download, previewed
from mockserver.control.dependencies import TheMock, new_router
from mockserver.schema.skills import SkillDeleted

router = new_router("/worlds/{world}", "Skills")

_EXAMPLE = {"files": [{"path": "SKILL.md", "content": "---\nname: greet\ndescription: Greet people.\n---\n"}]}
_SKILL = described(json_like(_EXAMPLE))


@router.get("/skills")
async def find_skills(mock: TheMock, world: str, query: Annotated[NamedQuery, Query()]) -> FoundSkills:
    """List skills, newest first, with the numbers of their versions."""
    return await mock.worlds.look(world, skills.find_skills, query)


@router.post("/skills", openapi_extra=_SKILL)
async def stage_skill(mock: TheMock, world: str, request: Request) -> AdminSkill:
    """Create a skill with its versions: the keys of a skill in a seed."""
    added = await add_objects(mock, request, world, "skills")
    return await mock.worlds.look(world, skills.find_skill, added["skills"][-1])


@router.get("/skills/{skill_id}")
async def find_skill(mock: TheMock, world: str, skill_id: str) -> AdminSkill:
    """Return one skill."""
    return await mock.worlds.look(world, skills.find_skill, skill_id)


@router.delete("/skills/{skill_id}")
async def remove_skill(mock: TheMock, world: str, skill_id: str) -> SkillDeleted:
    """Delete a skill with its versions. Containers keep it."""
    return await mock.worlds.change(world, skills.delete_skill, skill_id)


@router.get("/skills/{skill_id}/versions/{version}")
async def find_skill_version(mock: TheMock, world: str, skill_id: str, version: str) -> AdminSkillVersion:
    """Return a version with the paths and sizes of its files."""
    return await mock.worlds.look(world, skills.find_skill_version, skill_id, version)


@router.get("/skills/{skill_id}/versions/{version}/content", **download())
async def save_skill_version(mock: TheMock, world: str, skill_id: str, version: str) -> Response:
    """Download a version as a zip."""
    return contents(await mock.worlds.look(world, skills.open_skill_version, skill_id, version), inline=False)


@router.get("/skills/{skill_id}/versions/{version}/files/{path:path}", response_class=Response)
async def preview_skill_file(
    mock: TheMock, world: str, skill_id: str, version: str, path: str, bytes: PreviewBytes = PREVIEWED
) -> Response:
    """Return the first bytes of a file of a version, as plain text or bytes."""
    preview = skills.preview_skill_file
    return previewed(await mock.worlds.look(world, preview, skill_id, version, path, bytes))


@router.get("/containers/{container_id}/skills/{position}")
async def find_container_skill_files(mock: TheMock, world: str, container_id: str, position: int) -> SkillFiles:
    """List the files of a skill in a container, by the skill's place in the container's `skills`."""
    return await mock.worlds.look(world, skills.find_container_skill_files, container_id, position)


@router.get("/containers/{container_id}/skills/{position}/{path:path}", response_class=Response)
async def preview_container_skill_file(
    mock: TheMock, world: str, container_id: str, position: int, path: str, bytes: PreviewBytes = PREVIEWED
) -> Response:
    """Return the first bytes of a file of a skill in a container, as plain text or bytes."""
    preview = skills.preview_container_skill_file
    return previewed(await mock.worlds.look(world, preview, container_id, position, path, bytes))
