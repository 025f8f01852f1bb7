"""Create containers that expire one and two hours after their last use."""

from openai import OpenAI

with OpenAI() as client:
    for minutes in (60, 120):
        container = client.containers.create(
            name="long analysis",
            expires_after={"anchor": "last_active_at", "minutes": minutes},
        )
        print(f"{container.id} is kept for {container.expires_after.minutes} minutes")
