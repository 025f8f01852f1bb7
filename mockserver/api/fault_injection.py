"""Apply faults to exchanges: before the response, to the response or to the connection.

Faults apply after the key was checked and the route was found, and never to /_mock or /health.
"""

import math
from typing import Any

from pydantic_core import to_json
from starlette.types import Message, Receive, Send

from mockserver import errors, faults, ids
from mockserver.api.exchange import ClientGone, Connection, Exchange, send_raw
from mockserver.api.providers import api_path
from mockserver.context import Context, World
from mockserver.errors import APIError
from mockserver.faults import Hit, Target
from mockserver.samples import sample
from mockserver.schema.faults import Effect

FAULT_HEADER = b"x-mock-fault"
OVERLAP = 0.1
"""Seconds that a request takes at least which a rule with `concurrent` counts."""
TICKS = 20
"""A body that dribbles is sent in so many chunks a second, or in single bytes."""


async def inject(exchange: Exchange, operation: str | None) -> bool:
    """Apply the fault that fires, if any. Return whether it sent a response. Raises the error that it injects."""
    context = exchange.context or await _existing_world(exchange)
    hit = await _firing_fault(exchange, context, operation)
    if hit is None:
        if exchange.counted and not await exchange.connection.wait(OVERLAP):
            raise ClientGone
        return False
    world = context.world if context else None
    effect = exchange.effect = hit.effect
    exchange.fault = hit.id
    exchange.extra = _headers(hit, world)
    connection = exchange.connection
    if effect.latency and not await connection.wait(
        effect.latency.min + (effect.latency.max - effect.latency.min) * hit.draw
    ):
        raise ClientGone
    if effect.drop:
        connection.close()
        raise ClientGone
    if effect.stale_list is not None and context:
        context.stale_since = math.floor(context.world.now() - effect.stale_list)
    if effect.abort_upload_after is not None:
        exchange.receive = _abort_after(exchange.receive, connection, effect.abort_upload_after)
    if {"reset_after", "truncate_after", "dribble"} & effect.model_fields_set and exchange.scope["method"] != "HEAD":
        exchange.send = _disturb(exchange.send, connection, effect)
    if not effect.answers and effect.rate_limit is None:
        return False
    if "body" in effect.model_fields_set or (effect.error is None and effect.status and effect.status < 400):
        await _send_response(exchange, effect)
        return True
    raise _error(exchange, hit, operation)


def reshape(effect: Effect, page: dict[str, Any]) -> dict[str, Any]:
    """Return a page as the fault changes it."""
    if effect.empty_page:
        return page | {"data": [], "first_id": None, "last_id": None, "has_more": True}
    return page | {"has_more": True} if effect.has_more else page


async def _firing_fault(exchange: Exchange, context: Context | None, operation: str | None) -> Hit | None:
    if header := exchange.headers.get(FAULT_HEADER):
        return faults.brought(header, ids.draw(b"", exchange.request_id, 0))
    if context is None or not (world := context.world).faults:
        return None
    scope = exchange.scope
    named = scope.get("path_params", {}) if operation else {}
    container, file = named.get("container_id"), named.get("file_id")
    target = Target(operation, scope["method"], scope["path"], container, file, exchange.headers)
    now = world.instant()
    exchange.counted = [rule for rule in world.faults if rule.asked.concurrent and rule.matches(target, now)]
    for rule in exchange.counted:
        rule.in_progress.add(exchange)
    return await context.run(
        lambda context: faults.fire(context.write, world.id_seed, world.faults, target, world.instant())
    )


async def _existing_world(exchange: Exchange) -> Context | None:
    """Return the world of a request that matched no route; None if it doesn't exist. It is not created."""
    if not exchange.mock.worlds.exists(exchange.world):
        return None  # to look up a world that is only listed creates it
    try:
        return await exchange.mock.worlds.look_up(exchange.world)
    except APIError:
        return None


# Instead of the response


def _headers(hit: Hit, world: World | None) -> list[tuple[bytes, bytes]]:
    effect, headers = hit.effect, {}
    if effect.retry_after is not None:
        headers["retry-after"] = _decimal(effect.retry_after)
    elif hit.window_left is not None:
        rate = world.clock.rate if world else 1.0
        headers["retry-after"] = str(max(1, math.ceil(hit.window_left / (rate or 1.0))))  # in real time
    headers |= {name.lower(): value for name, value in effect.headers.items()}
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _send_response(exchange: Exchange, effect: Effect) -> None:
    status = effect.status or (errors.CATALOGUE[effect.error].status if effect.error else 200)
    if "body" not in effect.model_fields_set:
        await send_raw(exchange, status, b"", [])
    elif isinstance(effect.body, str):
        await send_raw(exchange, status, effect.body.encode(), [(b"content-type", b"text/plain; charset=utf-8")])
    else:
        await send_raw(exchange, status, to_json(effect.body, indent=2), [(b"content-type", b"application/json")])


def _error(exchange: Exchange, hit: Hit, operation: str | None) -> APIError:
    effect = hit.effect
    name = effect.error
    if effect.rate_limit or effect.status == 429:
        name = name or "rate_limited"
    elif name is None and effect.status and effect.status < 500:
        return APIError(effect.status, f"An injected fault returned status {effect.status}.")
    row, scope = errors.CATALOGUE[name or "server_error"], exchange.scope
    values = {"operation": operation or "requests", "method": scope["method"], "path": api_path(scope)}
    values |= {"request_id": ids.as_uuid(exchange.request_id), **scope.get("path_params", {})}
    error = sample(row, values | _rate_limit_values(exchange, hit))
    error.status = effect.status or error.status
    return error


def _rate_limit_values(exchange: Exchange, hit: Hit) -> dict[str, object]:
    if not (limit := hit.effect.rate_limit):
        return {} if hit.effect.retry_after is None else {"wait": f"{_decimal(hit.effect.retry_after)}s"}
    window = "requests per min (RPM)" if limit.per == 60 else f"requests per {_decimal(limit.per)}s"
    wait = next((value.decode() for name, value in exchange.extra if name == b"retry-after"), "0")
    return {"limit": limit.requests, "used": limit.requests, "window": window, "wait": f"{wait}s"}


def _decimal(seconds: float) -> str:
    """Format a number without an exponent and without trailing zeros."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


# During the request or the response


def _abort_after(receive: Receive, connection: Connection, limit: int) -> Receive:
    taken = 0

    async def receive_until() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken >= limit and message["type"] == "http.request":
            await connection.reset()
            raise ClientGone
        return message

    return receive_until


def _disturb(send: Send, connection: Connection, effect: Effect) -> Send:
    limit = effect.reset_after if effect.reset_after is not None else effect.truncate_after
    left = math.inf if limit is None else limit

    async def send_part(message: Message) -> None:
        nonlocal left
        if message["type"] != "http.response.body":
            await send(message)
            return
        body: bytes = message.get("body", b"")
        whole = len(body) <= left
        body = body if whole else body[: int(left)]
        left -= len(body)
        await _dribble(send, connection, effect.dribble, body)
        if not whole:
            if effect.reset_after is None:
                connection.close()
            else:
                await connection.reset()
            raise ClientGone
        await send({**message, "body": b""})

    return send_part


async def _dribble(send: Send, connection: Connection, rate: int | None, body: bytes) -> None:
    """Send a body at a rate, or at once without one."""
    step = max(1, rate // TICKS) if rate else len(body)
    for start in range(0, len(body), step or 1):
        chunk = body[start : start + step]
        if rate and not await connection.wait(len(chunk) / rate):
            raise ClientGone
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
