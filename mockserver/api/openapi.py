"""Parts of the OpenAPI document that FastAPI can't derive from the signatures of operations: forms and raw bytes."""

from typing import Any, get_args

from mockserver.schema.files import MAX_EXPIRY, MIN_EXPIRY, UploadPurpose

_FILE = {"type": "string", "format": "binary"}


def _body(**contents: dict[str, Any]) -> dict[str, Any]:
    kinds = {"multipart": "multipart/form-data", "json": "application/json"}
    return {
        "requestBody": {"required": True, "content": {kinds[kind]: {"schema": of} for kind, of in contents.items()}}
    }


CONTAINER_FILE_FORM = _body(
    multipart={"type": "object", "properties": {"file": _FILE, "file_id": {"type": "string"}}},
    json={"type": "object", "properties": {"file_id": {"type": "string"}}, "required": ["file_id"]},
)
FILE_FORM = _body(
    multipart={
        "type": "object",
        "required": ["file", "purpose"],
        "properties": {
            "file": _FILE,
            "purpose": {"type": "string", "enum": list(get_args(UploadPurpose))},
            "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
            "expires_after[seconds]": {"type": "integer", "minimum": MIN_EXPIRY, "maximum": MAX_EXPIRY},
        },
    }
)
PART_FORM = _body(multipart={"type": "object", "required": ["data"], "properties": {"data": _FILE}})
_SKILL_FILES = {
    "files": {**_FILE, "description": "A zip of the skill's folder."},
    "files[]": {"type": "array", "items": _FILE, "description": "Its files, each with its path as file name."},
}
SKILL_FORM = _body(multipart={"type": "object", "properties": _SKILL_FILES})
SKILL_VERSION_FORM = _body(
    multipart={
        "type": "object",
        "properties": _SKILL_FILES
        | {"default": {"type": "boolean", "description": "Whether it becomes the default version."}},
    }
)
CONTENT: dict[str, Any] = {
    "response_model": None,
    "responses": {200: {"description": "The bytes.", "content": {"application/octet-stream": {"schema": _FILE}}}},
}
