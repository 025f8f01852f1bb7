"""/responses, in the order of the API reference."""

from typing import Annotated

from fastapi import APIRouter, Query

from mockserver import responses
from mockserver.api.bundles import read_skills
from mockserver.api.exchange import JSON
from mockserver.api.operation import ResponsesOperation, TheContext, TheExchange
from mockserver.api.streams import Stream, created_response, stored_response
from mockserver.schema.responses import (
    CreateResponse,
    InputItemList,
    ListInputItems,
    Response,
    ResponseDeleted,
    RetrieveResponse,
)

router = APIRouter(prefix="/responses", tags=["Responses"], route_class=ResponsesOperation)


@router.post("", response_model=Response)
async def create_response(exchange: TheExchange, context: TheContext, body: CreateResponse) -> JSON | Stream:
    async with read_skills(exchange, context, body.skills) as supplied:
        created = await context.run(responses.create_response, body, exchange.mock.uploads, supplied)
    return await created_response(context, created)


@router.get("/{response_id}", response_model=Response)
async def get_response(
    context: TheContext, response_id: str, query: Annotated[RetrieveResponse, Query()]
) -> JSON | Stream:
    return await stored_response(context, await context.run(responses.retrieve_response, response_id), query)


@router.delete("/{response_id}")
async def delete_response(context: TheContext, response_id: str) -> ResponseDeleted:
    context.large = True  # SQLite reads all pages of an input that it deletes
    return await context.run(responses.delete_response, response_id)


@router.post("/{response_id}/cancel", response_model=Response)
async def cancel_response(context: TheContext, response_id: str) -> JSON:
    return JSON(await context.run(responses.shown, await context.run(responses.cancel_response, response_id)))


@router.get("/{response_id}/input_items")
async def list_input_items(
    context: TheContext, response_id: str, query: Annotated[ListInputItems, Query()]
) -> InputItemList:
    context.large = True  # an item can have as many bytes as the body of a request
    return await context.run(responses.list_input_items, response_id, query)
