"""A local, stateful mock server of the OpenAI Containers REST API."""

__version__ = "0.1.0"
