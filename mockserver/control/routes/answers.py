"""Answers of a world: list, add, read, delete."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import Discriminator, Tag

from mockserver import answers, control_errors
from mockserver.context import Context
from mockserver.control.dependencies import TheMock, new_router
from mockserver.control.models import Answer, AnswerList
from mockserver.mock import Mock
from mockserver.schema.answers import Figure, NewAnswer
from mockserver.seeds.contents import check_total, pieces_of
from mockserver.storage.contents import Upload
from mockserver.storage.database import in_thread

ONE, SEVERAL = "{}", "[]"
"""Tags of the two forms of a body. Pydantic adds them to the location of an error."""
NewAnswers = Annotated[
    Annotated[NewAnswer, Tag(ONE)] | Annotated[list[NewAnswer], Tag(SEVERAL)],
    Discriminator(lambda body: SEVERAL if isinstance(body, list) else ONE),
]

router = new_router("/worlds/{world}/answers", "Answers", ["answers"])


@router.get("")
async def list_answers(mock: TheMock, world: str) -> AnswerList:
    """List the answers in the order in which they are tried, with their counts."""
    context = await mock.worlds.look_up(world)
    return AnswerList(data=[_shown(each) for each in await context.run(lambda now: answers.list_rules(now.read))])


@router.post("")
async def add_answers(
    mock: TheMock,
    world: str,
    body: NewAnswers,
    dry_run: Annotated[bool, Query(description="Only check the answers, and return them as read.")] = False,
) -> AnswerList:
    """Add an answer, or a list of them, after those that were added before and before those of the seed."""
    rules = body if isinstance(body, list) else [body]
    figures = [figure for rule in rules for figure in rule.figures()]
    for figure in figures:
        _check(figure, mock.settings.max_upload)
    check_total("body", sum(each.generate.size for each in figures if each.generate), mock.settings.max_import)
    if dry_run:
        return AnswerList(data=[_shown(answers.Counted(rule.id or "", rule, False, 0, 0)) for rule in rules])
    stored: dict[int, Upload] = {}
    try:
        await in_thread(_store, mock, figures, stored)

        def add(context: Context) -> list[str]:
            with context.write() as tx:
                return answers.add(tx, context.world.contents, world, rules, lambda figure: stored[id(figure)])

        added = await mock.worlds.apply(world, add)
    finally:
        for upload in stored.values():
            upload.discard()
    everything = (await list_answers(mock, world))["data"]
    return AnswerList(data=[each for each in everything if each["id"] in added])


@router.get("/{id}")
async def get_answer(mock: TheMock, world: str, id: str) -> Answer:
    """Return one answer, with its counts."""
    for each in (await list_answers(mock, world))["data"]:
        if each["id"] == id:
            return each
    raise control_errors.ANSWER_NOT_FOUND(world=world, id=id[:80])


@router.delete("/{id}")
async def delete_answer(mock: TheMock, world: str, id: str) -> AnswerList:
    """Delete one answer. Return the remaining ones."""
    await _remove(mock, world, id)
    return await list_answers(mock, world)


@router.delete("")
async def delete_answers(mock: TheMock, world: str) -> AnswerList:
    """Delete all answers of a world, those of its seed included."""
    await _remove(mock, world, None)
    return AnswerList(data=[])


async def _remove(mock: Mock, world: str, id: str | None) -> None:
    def remove(context: Context) -> None:
        with context.write() as tx:
            answers.remove(tx, context.world.contents, world, id)

    await mock.worlds.apply(world, remove)


def _check(figure: Figure, limit: int) -> None:
    if figure.from_ is not None:
        raise control_errors.BAD_PARAMETER(
            param="files.from", problem="a server reads no files for a request; send content or base64"
        )
    if figure.digest is not None:
        raise control_errors.BAD_PARAMETER(param="files.digest", problem="send the bytes as content or base64")
    if figure.generate and figure.generate.size > limit:
        raise control_errors.BAD_PARAMETER(
            param="files.generate.size", problem=f"at most --max-upload bytes ({limit:,}) are allowed"
        )


def _store(mock: Mock, figures: list[Figure], stored: dict[int, Upload]) -> None:
    for figure in figures:
        stored[id(figure)] = mock.uploads.put(pieces_of(figure))


def _shown(counted: answers.Counted) -> Answer:
    rule: dict[str, Any] = counted.rule.model_dump(exclude_unset=True, by_alias=True)
    return {**rule, "id": counted.id, "seeded": counted.seeded, "matched": counted.matched, "used": counted.used}  # type: ignore[typeddict-item]  # the keys of a rule
