"""Parse and validate query strings and JSON bodies. Pydantic's errors become the API's errors here."""

import asyncio
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar, cast, get_origin
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from mockserver import errors, profiles
from mockserver.api.exchange import Exchange
from mockserver.bounds import MAX_PARAMETERS, MAX_VALUES, Excess, JSONCounter
from mockserver.context import Context
from mockserver.errors import APIError, json_type
from mockserver.redaction import MAX_BODY, Sent, large_body_sent
from mockserver.schema.lists import Query
from mockserver.schema.responses import OBJECT, STRING

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", bound=Query)

MAX_JSON_BYTES = 1 << 20
"""The largest body without skills and without secrets."""
_LARGE_KEYS = (b'"skills"', b'"domain_secrets"')
MAX_VIOLATIONS = 1_000
"""How many of Pydantic's errors are listed, at some 600 bytes each. Of more, only the number is used."""
MAX_LEVELS = 200
"""The deepest nesting that the JSON parser accepts."""
MAX_SHOWN = 10_000
"""How many characters of a value an error repeats."""

PROXY_KEYS = ("custom_llm_provider", "model", "target_model_names")
"""Parameters for a LiteLLM proxy, which says where to send a request. The proxy does not forward them."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")
_QUOTED = re.compile(r"'[^']*'")
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "list_type": "an array",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
    "bool_type": "a boolean",
    "float_type": "a decimal",
}

_KEY = "[key]"
"""What Pydantic adds to the location of a key of a mapping that is not as it has to be."""


# Query strings


def parse_query(model: type[P], query: bytes, context: Context) -> P:
    """Parse a query string. Unknown keys and empty values are ignored; a known key may occur once."""
    if not query:
        return cast(P, _defaults(model))
    if query.count(b"&") >= MAX_PARAMETERS:
        raise errors.TOO_MANY_PARAMETERS(limit=MAX_PARAMETERS)
    values: dict[str, Any] = {}
    for key, value in parse_qsl(query.decode("latin-1"), keep_blank_values=bool(model.empty_is_wrong)):
        name = key.removesuffix("[]")
        field = model.model_fields.get(name)
        if field and get_origin(field.annotation) is list:
            values.setdefault(name, []).append(value)
            continue
        if field is None or key != name or not (value or key in model.empty_is_wrong):
            continue
        if key in values and not (key in model.may_repeat and values[key] == value):
            raise errors.DUPLICATE_PARAMETER(param=key)
        if field.annotation is int:
            if not _INTEGER.fullmatch(value):
                raise errors.WRONG_TYPE(param=key, expected="an integer", got="a string")
            values[key] = int(value)
        else:
            values[key] = value
    if "before" in values and not context.allows(profiles.BEFORE_CURSOR):
        del values["before"]
    if values.get("limit") == 0 and _least_limit(model) > 0 and context.allows(profiles.ZERO):
        del values["limit"]
        return validate_for(None, model, values).model_copy(update={"limit": 0})
    return validate_for(None, model, values)


@cache
def _least_limit(model: type[Query]) -> int:
    return next(int(each.ge) for each in model.model_fields["limit"].metadata if hasattr(each, "ge"))


@cache
def _defaults(model: type[BaseModel]) -> BaseModel:
    return model()


# JSON


async def read_json(model: type[M], exchange: Exchange, limit: int, plain_limit: int | None) -> M:
    """Read a body of at most `limit` bytes; one without skills and secrets has at most `plain_limit`."""
    content_type = exchange.headers.get(b"content-type", b"").decode("latin-1")
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise errors.WRONG_CONTENT_TYPE(content_type=content_type)
    body = await read_body(exchange, limit)
    if plain_limit and len(body) > plain_limit and not any(key in body for key in _LARGE_KEYS):
        raise errors.BODY_TOO_LARGE(limit=plain_limit)
    values = json_object(body)
    if len(body) > MAX_JSON_BYTES:
        await asyncio.sleep(0)  # parsing and validating take a tenth of a second each
    if "model" not in model.model_fields:
        drop_proxy_keys(values, exchange)
    return validate_for(exchange.context, model, values)


def json_object(body: bytes | bytearray) -> dict[str, Any]:
    """Parse a JSON object. An empty body counts as `{}`; NaN, lone surrogates and nesting beyond 200 are errors."""
    try:
        value = from_json(body or b"{}", allow_inf_nan=False)
    except ValueError:
        raise errors.NOT_JSON() from None
    if not isinstance(value, dict):
        raise errors.NOT_AN_OBJECT(got=json_type(value))
    return value


def drop_proxy_keys(values: dict[str, Any], exchange: Exchange) -> None:
    """Remove the parameters for a LiteLLM proxy if the world's profile accepts them."""
    context = exchange.context
    if values.keys().isdisjoint(PROXY_KEYS) or context is None or not context.allows(profiles.LITELLM_KEYS):
        return
    for key in PROXY_KEYS:
        values.pop(key, None)


async def read_body(exchange: Exchange, limit: int) -> bytes | bytearray:
    """Read a JSON body. Its values are counted while it is received, once there can be too many."""
    parts = bytearray()
    counter: JSONCounter | None = None
    while not exchange.complete:
        chunk: bytes | bytearray = await exchange.read_chunk()
        parts += chunk
        if len(parts) > limit:
            raise errors.BODY_TOO_LARGE(limit=limit)
        if counter is None and len(parts) > MAX_VALUES:
            counter, chunk = JSONCounter(depth=MAX_LEVELS), parts
        if counter:
            try:
                counter.feed(chunk)
            except Excess as excess:
                raise errors.BODY_HOLDS_TOO_MUCH(problem=excess) from None
    if len(parts) > MAX_BODY:
        exchange.sent = await large_body_sent(parts)
        return parts
    body = bytes(parts)
    exchange.sent = Sent(len(body), hash(body), body)
    return body


def _violations(error: ValidationError, model: type[BaseModel], values: dict[str, Any]) -> list[ErrorDetails]:
    """List the errors. Raises APIError if there are too many, which would take long."""
    if (count := error.error_count()) <= MAX_VIOLATIONS:
        return error.errors(include_url=False)
    if unknown := next((key for key in values if key not in model.model_fields), None):
        raise errors.UNKNOWN_PARAMETER(param=_shorten(unknown))
    raise errors.BODY_HOLDS_TOO_MUCH(problem=f"{count:,} of its values are not as they have to be")


def validate_for(context: Context | None, model: type[M], values: dict[str, Any]) -> M:
    """Validate values. Keys that the model doesn't have are removed if the world's profile ignores them."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        violations = _violations(error, model, values)
        unknown = [each["loc"] for each in violations if each["type"] == "extra_forbidden"]
        if not unknown or context is None or not context.allows(profiles.UNKNOWN_KEY):
            raise _api_error(violations[0], _tags(model)) from None
    for location in unknown:
        _remove(values, location, _tags(model))
    return validate_for(context, model, values)


def _remove(values: Any, location: tuple[int | str, ...], tags: frozenset[str]) -> None:
    for step in location[:-1]:
        values = values if step in tags else values[step]
    del values[location[-1]]


@cache
def _tags(model: type[BaseModel]) -> frozenset[str]:
    """Return the tags of a model's unions: Pydantic adds them to the location of an error, where no request has them."""

    def found(schema: Any) -> Iterator[str]:
        if isinstance(schema, dict) and schema.get("type") == "tagged-union":
            yield from schema["choices"]
        inside = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list | tuple) else ()
        for each in inside:
            yield from found(each)

    return frozenset(found(model.__pydantic_core_schema__))


def _api_error(violation: ErrorDetails, tags: frozenset[str]) -> APIError:
    """Return the API's error for one of Pydantic's."""
    kind, given, context = violation["type"], violation["input"], violation.get("ctx", {})
    param = _path(violation["loc"], tags)
    match kind:
        case "missing":
            return errors.MISSING_PARAMETER(param=param)
        case "extra_forbidden":
            return errors.UNKNOWN_PARAMETER(param=param)
        case "union_tag_not_found":
            return errors.MISSING_PARAMETER(param=f"{param}.type")
        case "union_tag_invalid" if not isinstance(tag := given["type"], str):
            return errors.WRONG_TYPE(param=f"{param}.type", expected="a string", got=json_type(tag))
        case "union_tag_invalid":
            supported = _supported(context["expected_tags"])
            return errors.INVALID_VALUE(value=_shorten(context["tag"]), supported=supported, param=f"{param}.type")
        case "literal_error" if isinstance(given, str):
            supported = _supported(context["expected"])
            return errors.INVALID_VALUE(value=_shorten(given), supported=supported, param=param)
        case "literal_error":
            return errors.WRONG_TYPE(param=param, expected="a string", got=json_type(given))
        case "empty_order":
            return errors.EMPTY_ORDER()
        case "string_too_short":
            return errors.EMPTY_STRING(param=param, limit=context["min_length"])
        case "string_too_long":
            return errors.TOO_LONG_STRING(param=param, limit=context["max_length"], length=len(given))
        case "too_short":
            return errors.EMPTY_ARRAY(param=param, limit=context["min_length"])
        case "too_long" if isinstance(given, dict):
            return errors.TOO_MANY_PROPERTIES(param=param, limit=context["max_length"], count=len(given))
        case "too_long":
            return errors.TOO_LONG_ARRAY(param=param, limit=context["max_length"], length=len(given))
        case "less_than_equal" if isinstance(limit := context["le"], float):
            return errors.TOO_LARGE_DECIMAL(param=param, limit=f"{limit:g}", value=_shorten(str(given)))
        case "greater_than_equal" if isinstance(limit := context["ge"], float):
            return errors.TOO_SMALL_DECIMAL(param=param, limit=f"{limit:g}", value=_shorten(str(given)))
        case "less_than_equal":
            return errors.TOO_LARGE_INTEGER(param=param, limit=context["le"], value=_shorten(str(given)))
        case "greater_than_equal":
            return errors.TOO_SMALL_INTEGER(param=param, limit=context["ge"], value=_shorten(str(given)))
    return errors.WRONG_TYPE(param=param, expected=_EXPECTED[kind], got=json_type(given))


def _supported(expected: str) -> str:
    """Return what Pydantic expected as the API lists it: `'asc' and 'desc'`, `'1g', '4g', and '16g'`."""
    quoted = _QUOTED.findall(expected)
    if len(quoted) < 3:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def _path(location: tuple[int | str, ...], tags: frozenset[str]) -> str:
    """Return a location as the API writes it: `skills[0].source.data`."""
    path = ""
    location = tuple(step for step in location if step not in (STRING, OBJECT, _KEY))
    for position, step in enumerate(location):
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in tags or position == len(location) - 1:
            path += f".{step}" if path else step
    return _shorten(path)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
