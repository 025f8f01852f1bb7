"""Responses in exports, with their items."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from mockserver import responses
from mockserver.schema.answers import MAX_PACE
from mockserver.schema.responses import Carried, whole_item
from mockserver.schema.values import Count, Part
from mockserver.seeds.entry import Entry, Export, Exported, Placing, model_of, stored
from mockserver.storage import tables
from mockserver.storage.database import record


class ResponseItem(Part):
    """An item of a response. Written by exports."""

    id: str
    """Id of the item."""
    output: bool
    """Whether it is of the output."""
    body: str
    """The item as JSON."""
    ends: Count = 0
    """Seconds from the creation of the response until it is complete."""


class Response(Entry, Part):
    """A response with its items. Written by exports."""

    noun: ClassVar[str] = "response"

    object: dict[str, Any]
    """The response as it is stored."""
    items: Annotated[list[ResponseItem], Field(fail_fast=True)] = []
    """Items of its input and its output."""

    @model_validator(mode="after")
    def _can_be_shown(self) -> Self:
        model_of(tables.Response).model_validate(self.object)
        row = record(tables.Response)(**self.object)
        try:
            for status in ("completed", "failed", "incomplete"):
                responses.frame(row, status)
            details = json.loads(row.details)
            _ = details["raised"], set(json.loads(row.given))
            carried = Carried.model_validate(details.get("carried", {}))
            items = [(json.loads(item.body), item) for item in self.items]
            complete = [whole_item(body).keys() <= body.keys() for body, item in items if item.output]
            named = [body["id"] == item.id and isinstance(body["type"], str) for body, item in items]
            countable = carried.read + carried.written <= 1 << 53
            if not (all(complete) and all(named) and countable and 0 <= row.pace <= MAX_PACE):
                raise ValueError
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ValueError("it is not a response as exports write it; export the world again") from None
        return self

    def ordinals(self) -> Iterable[int]:
        return [int(self.object["ordinal"])]

    def texts(self) -> Iterable[str | None]:
        return [item.body for item in self.items]

    def place(self, into: Placing) -> None:
        row = into.put.add(tables.Response, **self.object)
        for position, item in enumerate(self.items):
            into.put.insert(tables.ResponseItem, response_id=row.id, position=position, **item.model_dump())

    @classmethod
    def export(cls, out: Export) -> Exported:
        for row in out.rows(tables.Response, "ordinal"):
            items = [stored(tables.ResponseItem, each) for each in out.rows(tables.ResponseItem, "position", row.id)]
            for item in items:
                del item["response_id"], item["position"]
            yield {"object": stored(tables.Response, row), "items": items}
