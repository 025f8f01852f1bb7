"""Create a container that expires a week after its creation, regardless of its use."""

from openai import OpenAI

with OpenAI() as client:
    container = client.containers.create(
        name="weekly report",
        expires_after={"anchor": "created_at", "days": 7},
    )
    print(f"{container.id} is kept for {container.expires_after.minutes // 1440} days")
