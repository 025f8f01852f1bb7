"""Keep a container for a week, however often it is used."""

from openai import OpenAI

with OpenAI() as client:
    container = client.containers.create(
        name="weekly report",
        expires_after={"anchor": "created_at", "days": 7},
    )
    print(f"{container.id} is kept for {container.expires_after.minutes // 1440} days")
