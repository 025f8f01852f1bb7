"""Expiry, on the world's own clock."""

import openai
import pytest
from conftest import NOON, World


def test_a_container_expires_exactly_when_it_has_been_unused_for_its_minutes(world: World) -> None:
    world.freeze(NOON)
    container = world.openai.containers.create(name="box")
    world.advance(20 * 60 - 1)
    (listed,) = world.openai.containers.list().data
    assert listed.status == "running"
    world.advance(1)
    assert world.openai.containers.retrieve(container.id).status == "expired"


def test_retrieving_prolongs_and_shows_it_in_the_same_answer(world: World) -> None:
    world.freeze(NOON)
    container = world.openai.containers.create(name="box")
    for _ in range(3):
        world.advance(19 * 60)
        container = world.openai.containers.retrieve(container.id)
        assert container.status == "running"
    assert container.last_active_at == NOON + 3 * 19 * 60
    assert container.created_at == NOON


def test_an_expired_container_refuses_its_files(world: World) -> None:
    world.freeze(NOON)
    container = world.openai.containers.create(name="box")
    file = world.openai.containers.files.create(container.id, file=b"bytes")
    world.advance(20 * 60)
    with pytest.raises(openai.BadRequestError, match="Container is expired"):
        world.openai.containers.files.content.retrieve(file.id, container_id=container.id)
