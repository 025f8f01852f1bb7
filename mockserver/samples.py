"""Errors that nothing caused: with sample values in their messages, for faults and scripts."""

from collections.abc import Mapping
from string import Formatter
from typing import Any

from mockserver.errors import APIError, ErrorType

_SAMPLES = {
    "allowed": "POST",
    "encoding": "gzip",
    "expected": "a string",
    "extension": "vb",
    "field": "file",
    "fields": "'foo' was",
    "file_id": "file-mock",
    "container_id": "cntr_mock",
    "got": "an integer",
    "key": "sk-*****",
    "length": 2_000,
    "limit": 60,
    "other": "file",
    "param": "name",
    "prefix": "cntr",
    "problem": "is not valid",
    "purpose": "user_data",
    "purposes": ["assistants", "user_data"],
    "rate": 500,
    "resource": "Container",
    "response_id": "resp_mock",
    "seconds": 120,
    "skill_id": "skill_mock",
    "skills": "skills",
    "supported": "'asc' and 'desc'",
    "used": 60,
    "value": "x",
    "version": "1",
    "window": "requests per min (RPM)",
    "wait": "1s",
}
"""Values for the messages."""


def sample(row: ErrorType, known: Mapping[str, Any]) -> APIError:
    """Return an error whose message has the known values, and samples of the others."""
    values = {**_SAMPLES, **known}
    wanted = {field for _, field, _, _ in Formatter().parse(row.message + (row.param or "")) if field}
    return row(**{field: values.get(field, "x") for field in wanted})
