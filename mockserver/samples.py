"""Errors that nothing caused: with sample values in their messages, for faults and scripts."""

from collections.abc import Mapping
from string import Formatter
from typing import Any

from mockserver.errors import APIError, ErrorType

_SAMPLES = {
    "allowed": "POST",
    "bytes": 10,
    "choice": "required",
    "container_id": "cntr_mock",
    "content_type": "text/plain",
    "count": 1_000,
    "encoding": "gzip",
    "expected": "a string",
    "extension": "vb",
    "field": "file",
    "fields": "'foo' was",
    "file": "world.db",
    "file_id": "file-mock",
    "got": "an integer",
    "item_id": "msg_mock",
    "key": "sk-*****",
    "length": 2_000,
    "limit": 60,
    "md5": "d41d8cd98f00b204e9800998ecf8427e",
    "method": "GET",
    "name": "default",
    "operation": "requests",
    "other": "file",
    "param": "name",
    "part_id": "part_mock",
    "path": "/nothing",
    "prefix": "cntr",
    "problem": "is not valid",
    "purpose": "user_data",
    "purposes": ["assistants", "user_data"],
    "rate": 500,
    "request_id": "00000000-0000-0000-0000-000000000000",
    "resource": "Container",
    "response_id": "resp_mock",
    "seconds": 120,
    "size": 5,
    "skill_id": "skill_mock",
    "skills": "skills",
    "state": "completed",
    "status": "completed",
    "supported": "'asc' and 'desc'",
    "upload_id": "upload_mock",
    "used": 60,
    "value": "x",
    "version": "1",
    "wait": "1s",
    "why": "The body has no boundary.",
    "window": "requests per min (RPM)",
}
"""Values for the messages."""


def sample(row: ErrorType, known: Mapping[str, Any]) -> APIError:
    """Return an error whose message has the known values, and samples of the others."""
    values = {**_SAMPLES, **known}
    wanted = {field for _, field, _, _ in Formatter().parse(row.message + (row.param or "")) if field}
    return row(**{field: values[field] for field in wanted})
