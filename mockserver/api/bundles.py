"""Read skills from requests: the files of a form, and the inline ones of a new container."""

import base64
import binascii
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, nullcontext

from python_multipart.multipart import parse_options_header

from mockserver import bundles, errors, profiles
from mockserver.api.exchange import Exchange
from mockserver.api.multipart import FileField, FormReader, read_json_fields
from mockserver.bundles import BadBundle, BadLayout, Bundle
from mockserver.context import Context
from mockserver.errors import json_type
from mockserver.schema.containers import InlineSkill, NewSkills
from mockserver.skills import NOTHING, NewSkill, Supplied
from mockserver.storage.contents import Uploads
from mockserver.storage.database import in_thread

FILES = FileField("files", limit=bundles.MAX_UNPACKED, most=2 * bundles.MAX_FILES)
"""Old clients send each file twice."""


@asynccontextmanager
async def read_skill(exchange: Exchange, context: Context) -> AsyncIterator[NewSkill]:
    """Read the form of a skill, and check its files. What was not stored at the end is deleted."""
    mock = exchange.mock
    kind, options = parse_options_header(exchange.headers.get(b"content-type", b"").decode("latin-1"))
    if kind != b"multipart/form-data":
        yield NewSkill(_missing(context), await _json_fields(exchange, context, kind))
        return
    async with FormReader(exchange, FILES).reading(options) as form:
        if not form.files:
            yield NewSkill(_missing(context), form.fields)
            return
        try:
            bundle = await in_thread(bundles.read, [(each.filename, each.upload) for each in form.files], mock.uploads)
        except BadBundle as error:
            bundle = _replaced(context, error, "files")
        try:
            yield NewSkill(bundle, form.fields)
        finally:
            bundle.zip.discard()


_NONE = nullcontext(NOTHING)


def read_skills(
    exchange: Exchange, context: Context, skills: Mapping[str, NewSkills]
) -> AbstractAsyncContextManager[Supplied]:
    """Check the inline skills of new containers. What was not stored at the end is deleted.

    The keys of `skills` are what precedes `skills` in the names of parameters: `tools[0].environment.` in a request for a
    response, an empty string in one for a container.
    """
    return _read_inline(exchange, context, skills) if any(skills.values()) else _NONE  # most containers have none


@asynccontextmanager
async def _read_inline(
    exchange: Exchange, context: Context, skills: Mapping[str, NewSkills]
) -> AsyncIterator[Supplied]:
    mock, inline = exchange.mock, {}
    by_line = not context.world.profile.folded_inline_skills
    places = {f"{where}skills[{n}]": skill for where, each in skills.items() for n, skill in enumerate(each)}
    with ExitStack() as stack:
        for place, skill in places.items():
            if isinstance(skill, InlineSkill):
                try:
                    bundle = await in_thread(_inline, skill, mock.uploads)
                except BadBundle as error:
                    bundle = _replaced(context, error, f"{place}.source.data")
                else:
                    stack.callback(bundle.zip.discard)
                    differs = (skill.name, skill.description) != (bundle.name, bundle.description)
                    if differs or (by_line and bundle.folded):
                        raise errors.INLINE_SKILL_DIFFERS()
                inline[place] = bundle
        yield Supplied(inline, mock.settings.curated_skill)


def _inline(skill: InlineSkill, uploads: Uploads) -> Bundle:
    try:
        data = base64.b64decode(skill.source.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadBundle(f"its data is not Base64 ({error})") from None
    upload = uploads.put([data])
    try:
        return bundles.read_zip(upload)
    except BaseException:
        upload.discard()
        raise


async def _json_fields(exchange: Exchange, context: Context, kind: bytes) -> dict[str, str]:
    """Return the fields of a skill's form that was sent as JSON, which can't contain files."""
    values = await read_json_fields(exchange, kind, FILES.name)
    if "files" in values and not context.allows(profiles.ANY_SKILL):
        raise errors.WRONG_TYPE(param="files", expected="files of a form", got=json_type(values["files"]))
    return {key: str(value).lower() for key, value in values.items() if key != "files"}


def _missing(context: Context) -> Bundle | None:
    return bundles.placeholder() if context.allows(profiles.ANY_SKILL) else None


def _replaced(context: Context, error: BadBundle, param: str) -> Bundle:
    """Return a placeholder for files that are no skill, if the profile accepts them."""
    if context.allows(profiles.ANY_SKILL):
        return bundles.placeholder()
    if isinstance(error, BadLayout):
        raise errors.SKILL_LAYOUT()
    raise errors.BAD_SKILL(problem=error, param=param)
