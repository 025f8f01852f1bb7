"""The journal: what was asked and answered, bounded and redacted."""


class Journal:
    def forget(self, world: str) -> None:
        """A world's state ended, and with it what is remembered of it."""
