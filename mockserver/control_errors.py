"""The errors of the control plane, which the live API does not have. See `errors`."""

from mockserver.schema.errors import ControlErrorType

ANSWER_NOT_FOUND = ControlErrorType(404, "World '{world}' has no answer '{id}'.", code="answer_not_found")
ANSWER_EXISTS = ControlErrorType(409, "World '{world}' has an answer '{id}' already.", code="answer_exists")
ANSWER_UNREACHABLE = ControlErrorType(
    400,
    "The answer '{id}' can never be used: '{before}' before it takes every request of the same kind. Give that one "
    "`times`, or change their order.",
    code="answer_unreachable",
)
TOO_MANY_ANSWERS = ControlErrorType(400, "A world takes at most {limit} answers. Delete some.", code="too_many_answers")
CONTROL_FAILED = ControlErrorType(
    500, "The control plane has an error. The log of the server shows it.", type="server_error"
)
WORLD_NOT_FOUND = ControlErrorType(404, "There is no world '{name}'.", code="world_not_found")
WORLD_EXISTS = ControlErrorType(409, "There is a world '{name}' already; reset it instead.", code="world_exists")
SNAPSHOT_NOT_FOUND = ControlErrorType(404, "World '{world}' has no snapshot '{name}'.", code="snapshot_not_found")
SNAPSHOT_UNUSABLE = ControlErrorType(
    500,
    "The snapshot '{name}' of the world '{world}' can't be used: {file} {problem}. Take it again or delete it, or put "
    "back the file of a backup.",
    code="snapshot_unusable",
    type="server_error",
)
TOO_MANY_SNAPSHOTS = ControlErrorType(
    429,
    "This server holds as many snapshots as --max-worlds allows worlds ({count}). Delete some, or start it with a "
    "higher --max-worlds (MOCKSERVER_MAX_WORLDS).",
    code="too_many_snapshots",
)
BAD_SNAPSHOT_NAME = ControlErrorType(
    400,
    "Invalid snapshot name: '{name}'. It is made like a world's: letters, digits, dots, underscores, hyphens.",
    code="invalid_snapshot_name",
)
CONTAINER_SKILL_NOT_FOUND = ControlErrorType(
    404, "Container '{container_id}' has no skill at position {position}.", code="skill_not_found"
)
SKILL_FILE_NOT_FOUND = ControlErrorType(
    404, "The skill has no file '{path}'; list its files.", code="skill_file_not_found"
)
OBJECT_EXISTS = ControlErrorType(409, "There is an object with the id '{id}' already.", code="object_exists")
BAD_SEED = ControlErrorType(400, "{problem}", code="invalid_seed")
TOO_MUCH = ControlErrorType(413, "{problem}", code="request_too_large")
BAD_PARAMETER = ControlErrorType(400, "{param}: {problem}", code="invalid_parameter", param="{param}")
CURSOR_NOT_FOUND = ControlErrorType(
    400, "Invalid '{param}': '{value}' is not the ID of an object in this list.", code="invalid_value", param="{param}"
)
FAULT_NOT_FOUND = ControlErrorType(404, "World '{world}' has no fault '{id}'.", code="fault_not_found")
FAULT_EXISTS = ControlErrorType(409, "World '{world}' has a fault '{id}' already.", code="fault_exists")
TOO_MANY_FAULTS = ControlErrorType(400, "A world takes at most {limit} faults. Delete some.", code="too_many_faults")
EXCHANGE_NOT_FOUND = ControlErrorType(
    404, "World '{world}' has no exchange {number} in its journal.", code="exchange_not_found"
)
JOURNAL_TIMEOUT = ControlErrorType(
    408, "After {timeout} s there were {count} of {wanted} such exchanges.", code="journal_timeout"
)
JOURNAL_CLOSED = ControlErrorType(
    503,
    "The server stopped after {waited} s; until then there were {count} of {wanted} such exchanges.",
    code="server_stopping",
)
TOO_MANY_STREAMS = ControlErrorType(
    503,
    "This server has as many event streams and waits open as --max-streams allows ({count}). Close some, or start it "
    "with a higher --max-streams (MOCKSERVER_MAX_STREAMS).",
    code="too_many_streams",
    headers=(("Retry-After", "1"),),
)
FORBIDDEN_HOST = ControlErrorType(
    403,
    "The control plane does not accept the host '{host}'. Start the server with --allow-host {host}, or a pattern such as "
    "--allow-host '*.example.test'; or use the address of the server.",
    code="forbidden_host",
)
FORBIDDEN_ORIGIN = ControlErrorType(
    403, "The control plane takes no requests from web pages of other origins.", code="forbidden_origin"
)
UNMARKED_REQUEST = ControlErrorType(
    403,
    "What a web page asks the control plane to change needs the header x-mock-dashboard, with any value.",
    code="unmarked_request",
)
WRONG_TOKEN = ControlErrorType(
    401,
    "The control plane wants the token given with --control-token, as: Authorization: Bearer TOKEN.",
    code="wrong_token",
)
CONTROL_CLOSED = ControlErrorType(
    403,
    "The control plane is closed, because the server listens on an address of the network. Start it with "
    "--control-token TOKEN, or with --control-open to let everybody in.",
    code="control_closed",
)
