"""List pages of two containers, then go back one page with `before`."""

from openai import OpenAI

with OpenAI() as client:
    for number in range(6):
        client.containers.create(name=f"box {number}")

    first = client.containers.list(limit=2)
    second = client.containers.list(limit=2, after=first.last_id)
    third = client.containers.list(limit=2, after=second.last_id)
    back = client.containers.list(limit=2, extra_query={"before": third.first_id})

    names = [container.name for container in back.data]
    if names != [container.name for container in second.data]:
        raise RuntimeError(f"{names} are not in front of {third.data[0].name}")
    print(f"back at {names}")
