"""/skills, in the order of the API reference."""

from typing import Annotated

from fastapi import APIRouter, Query

from mockserver import skills
from mockserver.api.bundles import read_skill
from mockserver.api.openapi import CONTENT, SKILL_FORM, SKILL_VERSION_FORM
from mockserver.api.operation import Operation, TheContext, TheExchange
from mockserver.schema.contents import Content
from mockserver.schema.skills import (
    ListSkills,
    Skill,
    SkillDeleted,
    SkillList,
    SkillVersion,
    SkillVersionDeleted,
    SkillVersionList,
    UpdateSkill,
)

router = APIRouter(prefix="/skills", tags=["Skills"], route_class=Operation)


@router.post("", openapi_extra=SKILL_FORM)
async def create_skill(exchange: TheExchange, context: TheContext) -> Skill:
    async with read_skill(exchange, context) as sent:
        return await context.run(skills.create_skill, sent)


@router.get("")
async def list_skills(context: TheContext, query: Annotated[ListSkills, Query()]) -> SkillList:
    return await context.run(skills.list_skills, query)


@router.get("/{skill_id}")
async def retrieve_skill(context: TheContext, skill_id: str) -> Skill:
    return await context.run(skills.retrieve_skill, skill_id)


@router.post("/{skill_id}")
async def update_skill(context: TheContext, skill_id: str, body: UpdateSkill) -> Skill:
    return await context.run(skills.update_skill, skill_id, body)


@router.delete("/{skill_id}")
async def delete_skill(context: TheContext, skill_id: str) -> SkillDeleted:
    return await context.run(skills.delete_skill, skill_id)


@router.head("/{skill_id}/content", include_in_schema=False, **CONTENT)
@router.get("/{skill_id}/content", **CONTENT)
async def retrieve_skill_content(context: TheContext, skill_id: str) -> Content:
    return await context.run(skills.retrieve_skill_content, skill_id)


@router.post("/{skill_id}/versions", openapi_extra=SKILL_VERSION_FORM)
async def create_skill_version(exchange: TheExchange, context: TheContext, skill_id: str) -> SkillVersion:
    await context.run(skills.retrieve_skill, skill_id)
    async with read_skill(exchange, context) as sent:
        return await context.run(skills.create_skill_version, skill_id, sent)


@router.get("/{skill_id}/versions")
async def list_skill_versions(
    context: TheContext, skill_id: str, query: Annotated[ListSkills, Query()]
) -> SkillVersionList:
    return await context.run(skills.list_skill_versions, skill_id, query)


@router.get("/{skill_id}/versions/{version}")
async def retrieve_skill_version(context: TheContext, skill_id: str, version: str) -> SkillVersion:
    return await context.run(skills.retrieve_skill_version, skill_id, version)


@router.delete("/{skill_id}/versions/{version}")
async def delete_skill_version(context: TheContext, skill_id: str, version: str) -> SkillVersionDeleted:
    return await context.run(skills.delete_skill_version, skill_id, version)


@router.head("/{skill_id}/versions/{version}/content", include_in_schema=False, **CONTENT)
@router.get("/{skill_id}/versions/{version}/content", **CONTENT)
async def retrieve_skill_version_content(context: TheContext, skill_id: str, version: str) -> Content:
    return await context.run(skills.retrieve_skill_version_content, skill_id, version)
