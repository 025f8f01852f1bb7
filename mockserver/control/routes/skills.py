"""Skills: read, add and delete them, and read the files of their versions."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mockserver import admin
from mockserver.control.bodies import add_objects
from mockserver.control.dependencies import TheMock
from mockserver.control.routes.files import CONTENT, PreviewBytes, contents, previewed
from mockserver.schema.admin import AdminSkill, AdminSkillVersion, FoundSkills, NamedQuery, SkillFiles
from mockserver.schema.skills import SkillDeleted

router = APIRouter(prefix="/worlds/{world}", tags=["Skills"])

_EXAMPLE = {"files": [{"path": "SKILL.md", "content": "---\nname: greet\ndescription: Greet people.\n---\n"}]}
_SKILL = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLE}},
    }
}


@router.get("/skills", operation_id="findSkills")
async def find_skills(mock: TheMock, world: str, query: Annotated[NamedQuery, Query()]) -> FoundSkills:
    """List skills, newest first, with the numbers of their versions."""
    return await mock.worlds.look(world, admin.find_skills, query)


@router.post("/skills", operation_id="stageSkill", openapi_extra=_SKILL)
async def stage_skill(mock: TheMock, world: str, request: Request) -> AdminSkill:
    """Create a skill with its versions: the keys of a skill in a seed."""
    added = await add_objects(mock, request, world, "skills")
    return await mock.worlds.look(world, admin.find_skill, added["skills"][-1])


@router.get("/skills/{skill_id}", operation_id="findSkill")
async def find_skill(mock: TheMock, world: str, skill_id: str) -> AdminSkill:
    """Return one skill."""
    return await mock.worlds.look(world, admin.find_skill, skill_id)


@router.delete("/skills/{skill_id}", operation_id="removeSkill")
async def remove_skill(mock: TheMock, world: str, skill_id: str) -> SkillDeleted:
    """Delete a skill with its versions. Containers keep it."""
    return await mock.worlds.change(world, admin.delete_skill, skill_id)


@router.get("/skills/{skill_id}/versions/{version}", operation_id="findSkillVersion")
async def find_skill_version(mock: TheMock, world: str, skill_id: str, version: str) -> AdminSkillVersion:
    """Return a version with the paths and sizes of its files."""
    return await mock.worlds.look(world, admin.find_skill_version, skill_id, version)


@router.get(
    "/skills/{skill_id}/versions/{version}/content",
    operation_id="saveSkillVersion",
    response_class=Response,
    responses={200: {"content": CONTENT}},
)
async def save_skill_version(mock: TheMock, world: str, skill_id: str, version: str) -> Response:
    """Download a version as a zip."""
    return contents(await mock.worlds.look(world, admin.open_skill_version, skill_id, version), inline=False)


@router.get(
    "/skills/{skill_id}/versions/{version}/files/{path:path}",
    operation_id="previewSkillFile",
    response_class=Response,
)
async def preview_skill_file(
    mock: TheMock, world: str, skill_id: str, version: str, path: str, bytes: PreviewBytes = 64 * 1024
) -> Response:
    """Return the first bytes of a file of a version, as plain text or bytes."""
    preview = admin.preview_skill_file
    return previewed(await mock.worlds.look(world, preview, skill_id, version, path, bytes))


@router.get("/containers/{container_id}/skills/{position}", operation_id="findContainerSkillFiles")
async def find_container_skill_files(mock: TheMock, world: str, container_id: str, position: int) -> SkillFiles:
    """List the files of a skill in a container, by the skill's place in the container's `skills`."""
    return await mock.worlds.look(world, admin.find_container_skill_files, container_id, position)


@router.get(
    "/containers/{container_id}/skills/{position}/{path:path}",
    operation_id="previewContainerSkillFile",
    response_class=Response,
)
async def preview_container_skill_file(
    mock: TheMock, world: str, container_id: str, position: int, path: str, bytes: PreviewBytes = 64 * 1024
) -> Response:
    """Return the first bytes of a file of a skill in a container, as plain text or bytes."""
    preview = admin.preview_container_skill_file
    return previewed(await mock.worlds.look(world, preview, container_id, position, path, bytes))
