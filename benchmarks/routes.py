"""Bare FastAPI with as many routes as the API, for the start-up time of an application of this size."""

from benchmarks.plain import CONSTANT, Container, app

ROUTES = 38
"""A test compares this with the number of the API's routes."""
PLAIN_ROUTES = 4


async def retrieve(id: str) -> Container:
    return CONSTANT


for number in range(ROUTES - PLAIN_ROUTES):
    app.add_api_route(f"/resources-{number}/{{id}}", retrieve, name=f"retrieve_{number}")
