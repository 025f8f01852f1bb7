"""Responses on the wire: the request, the object, its items.

Only what concerns containers is checked in depth; everything else of a request is accepted and echoed, as clients
send it. Most optional values may be null.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError
from typing_extensions import TypedDict

from mockserver.schema.containers import MAX_SKILLS, MemoryLimit, NewPolicy, NewSkills
from mockserver.schema.lists import ListOfObjects, PageAfter, Query, Request

CODE, SHELL = "code_interpreter", "shell"
"""The tools that run in containers."""

Item = dict[str, Any]
"""An item of the input or the output. Keys stand in the order of the wire."""

MAX_FILES = 50
"""`file_ids` of an automatic container (doc)."""
MAX_TOOLS = 128
"""Tools of a request (guess)."""
MAX_TEXT = 10_485_760
"""Characters of a text of the input (seen)."""


MAX_ECHO = 1 << 20
"""Characters of what a response repeats of its request, as JSON: it stands in several events of a stream (guess)."""


class _Auto(Request):
    """A container that the API chooses or creates."""

    type: str  # stands first where the object repeats it (seen)
    file_ids: Annotated[list[str], Field(max_length=MAX_FILES)] | None = None
    memory_limit: MemoryLimit | None = None
    network_policy: NewPolicy = None


class AutoContainer(_Auto):
    type: Literal["auto"]


class AutoEnvironment(_Auto):
    type: Literal["container_auto"]
    skills: Annotated[NewSkills | None, Field(max_length=MAX_SKILLS)] = None


class ContainerReference(Request):
    type: Literal["container_reference"]
    container_id: str


class LocalSkill(Request):
    """A skill on the client's machine."""

    name: str
    description: str
    path: str


class LocalEnvironment(Request):
    type: Literal["local"]
    skills: Annotated[list[LocalSkill], Field(max_length=MAX_SKILLS)] | None = None


STRING, OBJECT = "(string)", "(object)"
"""Tags of unions of a string and something else. Pydantic adds them to the location of an error."""


def _by_type(value: object) -> str:
    return STRING if isinstance(value, str) else OBJECT


S = TypeVar("S")
T = TypeVar("T")
_Either = Annotated[Annotated[S, Tag(STRING)] | Annotated[T, Tag(OBJECT)], Discriminator(_by_type)]


class CodeInterpreter(Request):
    type: Literal["code_interpreter"]
    container: _Either[str, AutoContainer]
    allowed_callers: list[str] | None = None


class Shell(Request):
    type: Literal["shell"]
    environment: Annotated[
        AutoEnvironment | ContainerReference | LocalEnvironment | None, Field(discriminator="type")
    ] = None
    allowed_callers: list[str] | None = None


class OtherTool(Request):
    """A tool that is only echoed."""

    model_config = ConfigDict(extra="allow")
    type: str


def _tool(value: object) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return kind if kind in (CODE, SHELL) else OBJECT


Tool = Annotated[
    Annotated[CodeInterpreter, Tag(CODE)] | Annotated[Shell, Tag(SHELL)] | Annotated[OtherTool, Tag(OBJECT)],
    Discriminator(_tool),
]

Include = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]
OUTPUTS: Include = "code_interpreter_call.outputs"
ENCRYPTED: Include = "reasoning.encrypted_content"


class Conversation(Request):
    id: str


class StreamOptions(Request):
    include_obfuscation: bool | None = None


UNASKED_MODEL = "gpt-5"
"""What is shown where the request names none, as a stored prompt does (guess)."""


class CreateResponse(Request):
    model: Annotated[str, Field(min_length=1)] = ""
    input: _Either[Annotated[str, Field(max_length=MAX_TEXT)], list[dict[str, Any]]] | None = None
    instructions: _Either[Annotated[str, Field(max_length=MAX_ECHO)], list[dict[str, Any]]] | None = None
    tools: Annotated[list[Tool] | None, Field(max_length=MAX_TOOLS)] = None
    tool_choice: _Either[str, dict[str, Any]] | None = None
    include: list[Include] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    background: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: _Either[str, Conversation] | None = None
    metadata: Annotated[
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None, Field(max_length=16)
    ] = None
    max_output_tokens: Annotated[int | None, Field(ge=1)] = None
    max_tool_calls: Annotated[int | None, Field(ge=0)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt: dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None
    # Accepted, and without effect: what the newest SDKs know beside.
    background_options: dict[str, Any] | None = None
    access_programs: Any = None
    context_management: Any = None
    image: Any = None
    prompt_cache_options: Any = None

    @property
    def stored(self) -> bool:
        return self.store is not False

    @property
    def skills(self) -> dict[str, NewSkills]:
        """The skills of the containers that shells get, by what stands before `skills` in the names of parameters."""
        return {
            f"tools[{position}].environment.": tool.environment.skills or []
            for position, tool in enumerate(self.tools or [])
            if isinstance(tool, Shell) and isinstance(tool.environment, AutoEnvironment)
        }


class RetrieveResponse(Query):
    include: list[Include] = []
    stream: Literal["true", "false"] = "false"
    starting_after: int = -1


class ListInputItems(PageAfter):
    """The query of a list of input items, newest first. No documentation has `before` for it."""

    include: list[Include] = []


def parts(content: object) -> list[Item]:
    """The objects of a list; of anything else none."""
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


class Carried(BaseModel):
    """What a response hands on to later ones of its chain, beside the columns of its row."""

    model_config = ConfigDict(extra="forbid")
    files: list[tuple[str, Annotated[int, Field(ge=0, le=1 << 31)]]] = []
    """Where the files of the input stand, the oldest first: ids of responses and positions of items."""
    placed: dict[str, Annotated[int, Field(ge=0)]] = {}
    """By the id of a container that the chain uses: how many of these items have their files in it."""
    read: Annotated[int, Field(ge=0)] = 0
    """Characters of texts in the context, the input included."""
    written: Annotated[int, Field(ge=0)] = 0
    """Characters of texts in the output."""


class IncompleteDetails(TypedDict):
    reason: str


class ResponseError(TypedDict):
    code: str
    message: str


class Usage(TypedDict):
    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ConversationReference(TypedDict):
    id: str


ERROR_CODES = frozenset(
    (
        *("server_error", "rate_limit_exceeded", "invalid_prompt", "data_residency_mismatch", "bio_policy"),
        *("misalignment_policy_violation", "vector_store_timeout", "invalid_image", "invalid_image_format"),
        *("invalid_base64_image", "invalid_image_url", "image_too_large", "image_too_small", "image_parse_error"),
        *("image_content_policy_violation", "invalid_image_mode", "image_file_too_large", "empty_image_file"),
        *("unsupported_image_media_type", "failed_to_download_image", "image_file_not_found"),
    )
)
"""The codes that `error` of a response can have (doc)."""

Status = Literal["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"]


class Response(TypedDict):
    """In the order of the wire. `billing` is in JSON responses, not in events (seen)."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Status
    background: bool
    billing: NotRequired[dict[str, str]]
    completed_at: int | None
    conversation: NotRequired[ConversationReference]
    error: ResponseError | None
    frequency_penalty: float
    incomplete_details: IncompleteDetails | None
    instructions: str | list[Item] | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    moderation: dict[str, Any] | None
    output: list[Item]
    parallel_tool_calls: bool
    presence_penalty: float
    previous_response_id: str | None
    prompt: NotRequired[dict[str, Any]]
    prompt_cache_key: str | None
    prompt_cache_retention: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: str
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tool_usage: NotRequired[dict[str, Any]]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: str
    usage: Usage | None
    user: str | None
    metadata: dict[str, str]


# Items of the output that scripts and archives give


class _Shape(BaseModel):
    """What events need of an item. Other keys may be anything."""

    model_config = ConfigDict(strict=True)
    id: str | None = None


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)
    type: str
    text: str = ""
    annotations: list[dict[str, Any]] = []


class _Message(_Shape):
    content: list[_Part]


class _Reasoning(_Shape):
    summary: list[_Part]


class _Code(_Shape):
    code: str | None
    container_id: str | None
    outputs: list[dict[str, Any]] | None


class _Commands(TypedDict):
    commands: list[str]


class _ShellCall(_Shape):
    action: _Commands
    call_id: str | None


class _Streams(TypedDict):
    stdout: str
    stderr: str


class _ShellOutput(_Shape):
    call_id: str | None
    output: list[_Streams]


class _FunctionCall(_Shape):
    name: str
    arguments: str
    call_id: str | None


_LOCAL = {"max_output_length": None, "timeout_ms": None}
_KINDS: dict[str, tuple[type[_Shape], Item]] = {
    "message": (_Message, {"content": [], "role": "assistant"}),
    "reasoning": (_Reasoning, {"summary": []}),
    "code_interpreter_call": (_Code, {"code": "", "container_id": None, "outputs": []}),
    "shell_call": (_ShellCall, {"action": {"commands": []} | _LOCAL, "call_id": None, "environment": None}),
    "shell_call_output": (_ShellOutput, {"call_id": None, "max_output_length": None, "output": []}),
    "function_call": (_FunctionCall, {"arguments": "{}", "call_id": None}),
}


def whole_item(given: Item) -> Item:
    """An item with the keys that it lacks; None for what only a run knows. Raises ValueError for wrong types."""
    kind = given.get("type", "message")
    if not isinstance(kind, str):
        raise ValueError("an item's type has to be a text")
    shape, absent = _KINDS.get(kind, (_Shape, {}))
    item = {"id": None, "type": kind, "status": "completed", **absent, **given}
    if kind == "message":
        text = item["content"]
        parts = [{"type": "output_text", "text": text}] if isinstance(text, str) else text
        if isinstance(parts, list):
            item["content"] = [whole_part(part) if isinstance(part, dict) else part for part in parts]
    try:
        shape.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{kind}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return item


_PARTS: dict[object, Item] = {
    "output_text": {"type": "output_text", "annotations": [], "logprobs": [], "text": ""},
    "input_image": {"type": "input_image", "detail": "auto"},
}


def whole_part(part: Item) -> Item:
    """A part of a message with the keys that it may lack."""
    kind = part.get("type")
    return _PARTS.get(kind, {}) | part if isinstance(kind, str) else part


class ResponseDeleted(TypedDict):
    id: str
    object: Literal["response.deleted"]
    deleted: Literal[True]


class InputItemList(ListOfObjects):
    data: list[Item]
