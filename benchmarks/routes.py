"""Bare FastAPI with as many routes as the API has: what FastAPI takes to start an application of this size."""

from benchmarks.plain import CONSTANT, Container, app

ROUTES = 38
"""A test compares it with the API's."""
OF_ITS_OWN = 4


async def retrieve(id: str) -> Container:
    return CONSTANT


for number in range(ROUTES - OF_ITS_OWN):
    app.add_api_route(f"/resources-{number}/{{id}}", retrieve, name=f"retrieve_{number}")
