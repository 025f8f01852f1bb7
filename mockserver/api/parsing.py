"""Query strings and JSON of requests, parsed and checked. Violations of a model become the API's own errors here."""

import asyncio
import re
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from mockserver import errors, profiles
from mockserver.api.exchange import Exchange
from mockserver.bounds import MAX_PARAMETERS, MAX_VALUES, Excess, JSONCounter
from mockserver.context import Context
from mockserver.errors import APIError
from mockserver.redaction import body_sent

M = TypeVar("M", bound=BaseModel)

MAX_JSON_BYTES = 1 << 20
"""Of a body without an inline skill and without a secret."""
_LARGE_KEYS = (b'"skills"', b'"domain_secrets"')
MAX_MISTAKES = 1_000
"""So many of Pydantic's errors are made into objects of some 600 bytes each; of more only their number is known."""
MAX_LEVELS = 200
"""Levels that the parser allows itself."""
MAX_SHOWN = 10_000
"""Characters of a value that an error repeats."""

LITELLM_KEYS = ("custom_llm_provider", "model")
"""By which a client tells a LiteLLM proxy where to send a request; the proxy doesn't pass them on."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")
_QUOTED = re.compile(r"'([^']*)'")
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "list_type": "an array",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
}
_TAGS = {"disabled", "allowlist", "skill_reference", "inline"}
"""Members of unions, which Pydantic names in the location of an error, and no client sent."""


# Query strings


def parse_query(model: type[M], query: bytes, context: Context) -> M:
    """Unknown keys and empty values are ignored; a key that counts may come once."""
    if not query:
        return cast(M, _unasked(model))
    if query.count(b"&") >= MAX_PARAMETERS:
        raise errors.TOO_MANY_PARAMETERS(limit=MAX_PARAMETERS)
    values: dict[str, Any] = {}
    for key, value in parse_qsl(query.decode("latin-1")):
        if (field := model.model_fields.get(key)) is None:
            continue
        if key in values:
            raise errors.DUPLICATE_PARAMETER(param=key)
        if field.annotation is int:
            if not _INTEGER.fullmatch(value):
                raise errors.WRONG_TYPE(param=key, expected="an integer", got="a string")
            values[key] = int(value)
        else:
            values[key] = value
    if "before" in values and not context.allows(profiles.BEFORE_CURSOR):
        del values["before"]
    if values.get("limit") == 0 and context.allows(profiles.ZERO):
        del values["limit"]
        return _validated(model, values).model_copy(update={"limit": 0})
    return _validated(model, values)


@cache
def _unasked(model: type[BaseModel]) -> BaseModel:
    return model()


# JSON


async def read_json(model: type[M], exchange: Exchange, limit: int) -> M:
    content_type = exchange.headers.get(b"content-type", b"").decode("latin-1")
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise errors.WRONG_CONTENT_TYPE(content_type=content_type)
    body = await read_body(exchange, limit)
    if len(body) > MAX_JSON_BYTES and not any(key in body for key in _LARGE_KEYS):
        raise errors.BODY_TOO_LARGE(limit=MAX_JSON_BYTES)
    values = json_object(body)
    if len(body) > MAX_JSON_BYTES:
        await asyncio.sleep(0)  # to parse it and to validate it takes a tenth of a second each
    drop_litellm_keys(values, exchange)
    return validate_for(exchange.context, model, values)


def json_object(body: bytes | bytearray) -> dict[str, Any]:
    """No body at all counts as `{}`; NaN, lone surrogates and nesting beyond 200 are not JSON."""
    try:
        value = from_json(body or b"{}", allow_inf_nan=False)
    except ValueError:
        raise errors.NOT_JSON() from None
    if not isinstance(value, dict):
        raise errors.NOT_AN_OBJECT(got=described(value))
    return value


def drop_litellm_keys(values: dict[str, Any], exchange: Exchange) -> None:
    """Take out what a LiteLLM proxy keeps to itself, where the world's profile lets it in."""
    context = exchange.context
    if values.keys().isdisjoint(LITELLM_KEYS) or context is None or not context.allows(profiles.LITELLM_KEYS):
        return
    for key in LITELLM_KEYS:
        values.pop(key, None)


async def read_body(exchange: Exchange, limit: int) -> bytes | bytearray:
    """A JSON text. Its values are counted as it comes in, once there can be too many."""
    parts = bytearray()
    counter: JSONCounter | None = None
    while not exchange.complete:
        piece = await exchange.piece()
        parts += piece
        if len(parts) > limit:
            raise errors.BODY_TOO_LARGE(limit=limit)
        if counter:
            count_values(counter, piece)
        elif len(parts) > MAX_VALUES:
            counter = JSONCounter(depth=MAX_LEVELS)
            count_values(counter, parts)
    body = parts if counter else bytes(parts)
    exchange.sent = await body_sent(body)
    return body


def count_values(counter: JSONCounter, piece: bytes | bytearray) -> None:
    try:
        counter.feed(piece)
    except Excess as excess:
        raise errors.BODY_HOLDS_TOO_MUCH(problem=excess) from None


def _validated(model: type[M], values: dict[str, Any]) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refusal(_mistakes(error, model, values)[0]) from None


def _mistakes(error: ValidationError, model: type[BaseModel], values: dict[str, Any]) -> list[ErrorDetails]:
    """Raises APIError where there are very many, which takes long to list."""
    if (count := error.error_count()) <= MAX_MISTAKES:
        return error.errors(include_url=False)
    if unknown := next((key for key in values if key not in model.model_fields), None):
        raise errors.UNKNOWN_PARAMETER(param=_cut(unknown))
    raise errors.BODY_HOLDS_TOO_MUCH(problem=f"{count:,} of its values are not as they have to be")


def validate_for(context: Context | None, model: type[M], values: dict[str, Any]) -> M:
    """Without the keys that the model doesn't know, where the world's profile ignores them."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        mistakes = _mistakes(error, model, values)
        unknown = [each["loc"] for each in mistakes if each["type"] == "extra_forbidden"]
        if not unknown or context is None or not context.allows(profiles.UNKNOWN_KEY):
            raise _refusal(mistakes[0]) from None
    for location in unknown:
        _remove(values, location)
    return validate_for(context, model, values)


def _remove(values: Any, location: tuple[int | str, ...]) -> None:
    for step in location[:-1]:
        values = values if step in _TAGS else values[step]
    del values[location[-1]]


def _refusal(violation: ErrorDetails) -> APIError:
    """The API's words for the first thing that Pydantic finds wrong."""
    kind, given, context = violation["type"], violation["input"], violation.get("ctx", {})
    param = _path(violation["loc"])
    match kind:
        case "missing":
            return errors.MISSING_PARAMETER(param=param)
        case "extra_forbidden":
            return errors.UNKNOWN_PARAMETER(param=param)
        case "union_tag_not_found":
            return errors.MISSING_PARAMETER(param=f"{param}.type")
        case "union_tag_invalid" if not isinstance(tag := given["type"], str):
            return errors.WRONG_TYPE(param=f"{param}.type", expected="a string", got=described(tag))
        case "union_tag_invalid":
            supported = errors.listed(_QUOTED.findall(context["expected_tags"]))
            return errors.INVALID_VALUE(value=_cut(context["tag"]), supported=supported, param=f"{param}.type")
        case "literal_error" if isinstance(given, str):
            supported = errors.listed(_QUOTED.findall(context["expected"]))
            return errors.INVALID_VALUE(value=_cut(given), supported=supported, param=param)
        case "literal_error":
            return errors.WRONG_TYPE(param=param, expected="a string", got=described(given))
        case "string_too_short":
            return errors.EMPTY_STRING(param=param, limit=context["min_length"])
        case "string_too_long":
            return errors.TOO_LONG_STRING(param=param, limit=context["max_length"], length=len(given))
        case "too_short":
            return errors.EMPTY_ARRAY(param=param, limit=context["min_length"])
        case "too_long":
            return errors.TOO_LONG_ARRAY(param=param, limit=context["max_length"], length=len(given))
        case "less_than_equal":
            return errors.TOO_LARGE_INTEGER(param=param, limit=context["le"], value=_cut(str(given)))
        case "greater_than_equal":
            return errors.TOO_SMALL_INTEGER(param=param, limit=context["ge"], value=_cut(str(given)))
    return errors.WRONG_TYPE(param=param, expected=_EXPECTED[kind], got=described(given))


def _path(location: tuple[int | str, ...]) -> str:
    """`skills[0].source.data`."""
    path = ""
    for position, step in enumerate(location):
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in _TAGS or position == len(location) - 1:
            path += f".{step}" if path else step
    return _cut(path)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def described(value: Any) -> str:
    """`a string`, `an integer`, `null`: a JSON value's type, the way refusals word it."""
    if value is None:
        return "null"
    for kind, words in (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a decimal"),
        (str, "a string"),
        (list, "an array"),
    ):
        if isinstance(value, kind):
            return words
    return "an object"
