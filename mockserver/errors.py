"""The errors of the API, each defined once.

An `ErrorType` is a row of the catalogue; calling it with the values of its message creates the `APIError` to raise.
`grade` says how the row is known: `doc` published by OpenAI, `seen` recorded from the live API, `probe` measured by a
third party, `stack` seen on routes behind the same front end, `guess` known from nowhere.
"""

from mockserver.schema.errors import APIError as APIError
from mockserver.schema.errors import AzureError as AzureError
from mockserver.schema.errors import AzureErrorType as AzureErrorType
from mockserver.schema.errors import ErrorType as ErrorType
from mockserver.schema.errors import Grade as Grade
from mockserver.schema.errors import IntendedFailure as IntendedFailure
from mockserver.schema.errors import json_type as json_type


def _of_parameter(message: str, code: str, grade: Grade = "stack") -> ErrorType:
    """An error about the parameter that the caller names; most are known from sibling routes."""
    return ErrorType(400, message, grade, "{param}", code)


def _of_server(
    status: int, message: str, code: str, headers: tuple[tuple[str, str], ...] = (), type: str = "invalid_request_error"
) -> ErrorType:
    """An error that nobody has seen; most are about what only this server has."""
    return ErrorType(status, message, "guess", code=code, headers=headers, type=type)


def _of_stream(message: str, grade: Grade) -> ErrorType:
    return ErrorType(400, message, grade, "stream", "invalid_request_error")


_FINAL = (("x-should-retry", "false"),)


# Authentication

MISSING_KEY = ErrorType(
    401,
    "You didn't provide an API key. You need to provide your API key in an Authorization header using "
    "Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if "
    "you're accessing the API from your browser and are prompted for a username and password. You can "
    "obtain an API key from https://platform.openai.com/account/api-keys.",
    "seen",
    headers=(("WWW-Authenticate", 'Bearer realm="OpenAI API"'),),
)
WRONG_KEY = ErrorType(
    401,
    "Incorrect API key provided: {key}. You can find your API key at https://platform.openai.com/account/api-keys.",
    "seen",
    code="invalid_api_key",
    headers=(("WWW-Authenticate", 'Bearer realm="OpenAI API"'),),
)

# Routes and worlds

UNKNOWN_URL = ErrorType(404, "Invalid URL ({method} {path})", "seen")
WRONG_METHOD = ErrorType(405, "Only {allowed} requests are accepted.", "seen", code="method_not_supported")
BAD_WORLD_NAME = _of_server(
    400,
    "Invalid world name: '{name}'. A world's name is 1 to 64 letters, digits, dots, underscores or hyphens, "
    "and starts with a letter or a digit.",
    "invalid_world_name",
)
TOO_MANY_WORLDS = _of_server(
    429,
    "This server holds as many worlds as --max-worlds allows ({count}). Delete some, or start it with a "
    "higher --max-worlds (MOCKSERVER_MAX_WORLDS).",
    "too_many_worlds",
    headers=_FINAL,
)

WORLD_GONE = _of_server(
    409,
    "The world was deleted while this request was under way. Send it again.",
    "world_gone",
    headers=(("x-should-retry", "true"),),
)

RATE_LIMITED = ErrorType(
    429,
    "Rate limit reached for {operation} in organization org-mockserver on {window}: Limit {limit}, Used {used}, "
    "Requested 1. Please try again in {wait}. Visit https://platform.openai.com/account/rate-limits to learn more.",
    "stack",
    code="rate_limit_exceeded",
    type="requests",
)

# Parameters and bodies

NOT_JSON = ErrorType(
    400,
    "Invalid body: failed to parse JSON value. Please check the value to ensure it is valid JSON. (Common "
    "errors include trailing commas, missing closing brackets, missing quotation marks, etc.)",
    "stack",
)
NOT_MULTIPART = ErrorType(400, "Invalid body: failed to parse multipart/form-data. {why}", "guess")
NOT_AN_OBJECT = ErrorType(400, "Invalid body: expected a JSON object, but got {got} instead.", "guess")
WRONG_CONTENT_TYPE = ErrorType(
    400,
    "Unsupported content type: '{content_type}'. This API method only accepts 'application/json' requests, but "
    "you specified the header 'Content-Type: {content_type}'. Please try again with a supported content type.",
    "stack",
    code="unsupported_content_type",
)
WRONG_CONTENT_ENCODING = _of_server(
    415,
    "Unsupported content encoding: '{encoding}'. Send the body as it is, without the header 'Content-Encoding'.",
    "unsupported_content_encoding",
)
BODY_TOO_LARGE = _of_server(413, "The request body is too large. The maximum is {limit} bytes.", "request_too_large")
BODY_HOLDS_TOO_MUCH = _of_server(400, "Invalid body: {problem}. Send less at once.", "request_too_large")
TOO_MANY_PARAMETERS = _of_server(
    400, "The URL has more than {limit} query parameters. Send fewer.", "request_too_large"
)
BODY_TIMED_OUT = _of_server(
    408,
    "The request's body stopped, or came at less than {rate} bytes a second, for {seconds} seconds. Send it faster, or "
    "start the server with a longer --body-timeout or a lower --min-body-rate.",
    "request_timeout",
)
MISSING_PARAMETER = _of_parameter("Missing required parameter: '{param}'.", "missing_required_parameter")
UNKNOWN_PARAMETER = _of_parameter("Unknown parameter: '{param}'.", "unknown_parameter")
DUPLICATE_PARAMETER = _of_parameter(
    "Duplicate parameter: '{param}'. You provided multiple values for this parameter, whereas only one is "
    "allowed. If you are trying to provide a list of values, use the array syntax instead e.g. '{param}[]=<value>'.",
    "duplicate_parameter",
)
MISSING_EXCLUSIVE = _of_parameter(
    "Missing mutually exclusive parameters: '{param}'. Ensure you are providing exactly one of: '{param}' or '{other}'.",
    "missing_mutually_exclusive_parameters",
)
MUTUALLY_EXCLUSIVE = _of_parameter(
    "Mutually exclusive parameters: '{param}' and '{other}'. Ensure you are only providing one of: '{param}' or '{other}'.",
    "mutually_exclusive_parameters",
    "guess",
)
WRONG_TYPE = _of_parameter("Invalid type for '{param}': expected {expected}, but got {got} instead.", "invalid_type")
INVALID_VALUE = _of_parameter("Invalid value: '{value}'. Supported values are: {supported}.", "invalid_value")
TOO_LARGE_INTEGER = _of_parameter(
    "Invalid '{param}': integer above maximum value. Expected a value <= {limit}, but got {value} instead.",
    "integer_above_max_value",
)
TOO_SMALL_INTEGER = _of_parameter(
    "Invalid '{param}': integer below minimum value. Expected a value >= {limit}, but got {value} instead.",
    "integer_below_min_value",
)
TOO_LARGE_DECIMAL = _of_parameter(
    "Invalid '{param}': decimal above maximum value. Expected a value <= {limit}, but got {value} instead.",
    "decimal_above_max_value",
    "guess",
)
TOO_SMALL_DECIMAL = _of_parameter(
    "Invalid '{param}': decimal below minimum value. Expected a value >= {limit}, but got {value} instead.",
    "decimal_below_min_value",
    "guess",
)
TOO_LONG_STRING = _of_parameter(
    "Invalid '{param}': string too long. Expected a string with maximum length {limit}, but got a string "
    "with length {length} instead.",
    "string_above_max_length",
)
EMPTY_STRING = _of_parameter(
    "Invalid '{param}': empty string. Expected a string with minimum length {limit}, but got an empty string instead.",
    "empty_string",
)
TOO_LONG_ARRAY = _of_parameter(
    "Invalid '{param}': array too long. Expected an array with maximum length {limit}, but got an array "
    "with length {length} instead.",
    "array_above_max_length",
)
TOO_MANY_PROPERTIES = _of_parameter(
    "Invalid '{param}': too many properties. Expected an object with at most {limit} properties, but got an object "
    "with {count} properties instead.",
    "object_above_max_properties",
)
EMPTY_ARRAY = _of_parameter(
    "Invalid '{param}': empty array. Expected an array with minimum length {limit}, but got an empty array instead.",
    "empty_array",
)

WRONG_ID = _of_parameter("Invalid '{param}': '{value}'. Expected an ID that begins with '{prefix}'.", "invalid_value")

# Lists

WRONG_CURSOR = WRONG_ID
UNKNOWN_CURSOR = ErrorType(404, "No such {resource} object: {value}", "doc", "{param}")
"""The status is documented. The text is that of an unknown File (guess)."""

# Containers

CONTAINER_NOT_FOUND = ErrorType(404, "Container with id '{container_id}' not found.", "seen")
CONTAINER_FILE_NOT_FOUND = ErrorType(404, "File {file_id} not found on container {container_id}.", "seen")
CONTAINER_EXPIRED = ErrorType(404, "Container is expired.", "doc")
"""The status of the routes of its files is documented. The text is that of a run that uses it (seen, with 400)."""

# Files

FILE_NOT_FOUND = ErrorType(404, "No such File object: {file_id}", "seen", "id")
REFERENCED_FILE_NOT_FOUND = ErrorType(404, "No such File object: {file_id}", "guess", "file_id")
LISTED_FILE_NOT_FOUND = ErrorType(400, "No such File object: {file_id}", "guess", "{param}")
"""For `file_ids` and the input of a run: the description has no 404 where a container is created."""
UNKNOWN_PURPOSE = ErrorType(400, "'{purpose}' is not one of {purposes} - 'purpose'", "seen", "purpose")
EMPTY_ORDER = ErrorType(400, "'' is not one of ['asc', 'desc'] - 'order'", "probe")
"""For the list. Its param and code were measured to be null; the text is a guess."""
MISSING_FIELD = ErrorType(400, "'{field}' is a required property", "seen")
UNEXPECTED_FIELDS = ErrorType(400, "Additional properties are not allowed ({fields} unexpected)", "seen")
BAD_FIELD = ErrorType(400, "'{value}' {problem} - '{param}'", "guess", "{param}")
NOT_A_FORM = ErrorType(
    415,
    "Invalid Content-Type header ({content_type}), expected multipart/form-data. (HINT: If you're using curl, you can "
    "pass -H 'Content-Type: multipart/form-data')",
    "seen",
)
MISSING_FILENAME = ErrorType(400, "Invalid file 'file': missing filename", "stack")
NOT_JSONL = ErrorType(400, "Invalid file format for Batch API. Must be .jsonl", "seen")
NOT_UTF8 = ErrorType(400, "Invalid file for Batch API. Must be utf-8 encoded", "seen")
WRONG_EXTENSION = ErrorType(400, "Invalid extension {extension}. Supported formats: {supported}", "seen")
INVALID_UPLOAD = ErrorType(400, "You uploaded an invalid file", "probe", "{field}")
NOT_DOWNLOADABLE = ErrorType(400, "Not allowed to download files of purpose: {purpose}", "seen")
FILE_TOO_LARGE = ErrorType(413, "File is too large. The maximum is {limit} bytes.", "guess", "file", "file_too_large")

# Uploads

UPLOAD_NOT_FOUND = ErrorType(404, "No such Upload object: {upload_id}", "guess", "id")
UPLOAD_ENDED = ErrorType(
    400, "Upload {upload_id} is already {state}. Only a pending upload can be changed; create another one.", "guess"
)
UPLOAD_EXPIRED = ErrorType(410, "Upload {upload_id} has expired. Create another one.", "guess")
INVALID_PART = ErrorType(400, "Invalid part '{part_id}': {problem}.", "guess", "part_ids")
WRONG_UPLOAD_SIZE = ErrorType(
    400, "The parts have {size} bytes in all, but the upload was created with {bytes} bytes.", "guess", "part_ids"
)
WRONG_MD5 = ErrorType(400, "'{value}' is not the MD5 of the content, which is '{md5}'.", "guess", "md5")
PART_TOO_LARGE = ErrorType(400, "The part is too large. The maximum is {limit} bytes.", "guess", "data")
UPLOAD_TOO_LARGE = ErrorType(400, "The parts have more than {limit} bytes in all.", "guess", "data")

# Skills

SKILL_NOT_FOUND = ErrorType(404, "Skill with id '{skill_id}' not found.", "guess")
SKILL_VERSION_NOT_FOUND = ErrorType(404, "Skill version '{version}' not found.", "guess")
BAD_SKILL_VERSION = _of_parameter("Invalid '{param}': '{value}'. Expected {expected}.", "invalid_value", "guess")
DEFAULT_SKILL_VERSION = ErrorType(400, "Cannot delete the default skill version.", "guess", "version", "invalid_value")
SKILL_LAYOUT = ErrorType(400, "All files must be under a single top-level directory", "seen")
BAD_SKILL = _of_parameter("Invalid skill: {problem}", "invalid_value", "guess")
INLINE_SKILL_DIFFERS = ErrorType(
    400, "Inline skill name/description must match the values in SKILL.md/Skills.md front matter.", "seen"
)
REFERENCED_SKILL_NOT_FOUND = ErrorType(400, "Skill with id '{skill_id}' not found.", "guess", "{skills}")
REFERENCED_SKILL_VERSION_NOT_FOUND = ErrorType(
    400, "Version '{version}' of skill '{skill_id}' not found.", "guess", "{skills}"
)
WRONG_SKILL_CURSOR = ErrorType(
    400, "Skill version cursor does not match this skill.", "probe", "after", "invalid_value"
)

# The server itself

RANGE_NOT_SATISFIABLE = ErrorType(416, "The requested range is not satisfiable.", "guess")
MALFORMED_HTTP = ErrorType(400, "Invalid HTTP request received.", "guess")
HEAD_TOO_LARGE = _of_server(
    431,
    "The request line and headers are too large. The maximum is {limit} bytes, in 1000 headers.",
    "headers_too_large",
)
STORAGE_FAILED = _of_server(
    500,
    "The mock can't use its data directory ({problem}), and stored nothing of this request. Check the disk, or "
    "start the mock with another --data.",
    "storage_failed",
    type="server_error",
    headers=_FINAL,
)
WORLD_UNUSABLE = _of_server(
    500,
    "The world '{name}' can't be used: {file} {problem}. Reset, restore or delete the world, or put back the file of a "
    "backup while the mock is stopped.",
    "world_unusable",
    type="server_error",
    headers=_FINAL,
)
SERVER_ERROR = ErrorType(
    500,
    "The server had an error processing your request. Sorry about that! You can retry your request, or contact us "
    "through our help center at help.openai.com if you keep seeing this error. (Please include the request ID "
    "{request_id} in your email.)",
    "stack",
    type="server_error",
)
UPSTREAM_UNAVAILABLE = ErrorType(
    503,
    "upstream connect error or disconnect/reset before headers. reset reason: connection failure, transport failure "
    "reason: delayed connect error: 111",
    "stack",
    text=True,
)

# Azure's gateway

AZURE_WRONG_KEY = AzureErrorType(
    401,
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource.",
    "seen",
    code="401",
)
AZURE_WRONG_TOKEN = AzureErrorType(
    401,
    "Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), "
    "or have expired.",
    "seen",
)
AZURE_NO_ROUTE = AzureErrorType(404, "Resource not found", "seen", code="404")
AZURE_UNTYPED_FILE = AzureErrorType(
    400, "The file has no or an empty content type specified.", "seen", code="invalidPayload"
)
AZURE_WRONG_PURPOSE = AzureErrorType(400, "Invalid value for purpose.", "seen", code="invalidPayload")
AZURE_WRONG_VERSION = AzureErrorType(400, "API version not supported", "seen", code="BadRequest")
AZURE_RATE_LIMITED = AzureErrorType(
    429,
    "Requests to the {operation} Operation under Azure OpenAI API version {version} have exceeded call rate limit of "
    "your current OpenAI S0 pricing tier. Please retry after {wait} seconds.",
    "seen",
    code="429",
)

# Responses

RESPONSE_NOT_FOUND = ErrorType(404, "Response with id '{response_id}' not found.", "seen")
PREVIOUS_RESPONSE_NOT_FOUND = ErrorType(
    400,
    "Previous response with id '{response_id}' not found.",
    "seen",
    "previous_response_id",
    "previous_response_not_found",
)
ITEM_NOT_FOUND = ErrorType(
    404,
    "Item with id '{item_id}' not found. Items are not persisted when `store` is set to false. Try again with `store` "
    "set to true, or remove this item from your input.",
    "seen",
    "input",
)
CHOICE_NOT_FOUND = ErrorType(400, "Tool choice '{choice}' not found in 'tools' parameter.", "seen", "tool_choice")
CHOICE_WITHOUT_TOOLS = ErrorType(
    400, "Tool choice '{choice}' must be specified with 'tools' parameter.", "seen", "tool_choice"
)
RUN_CONTAINER_EXPIRED = ErrorType(400, "Container is expired.", "seen")
RUN_CONTAINER_REPLAYED = ErrorType(400, "Expected container_id: {container_id}", "seen")
RUN_FAILED = ErrorType(400, "There was an issue with your request. Please check your inputs and try again", "probe")
INVALID_INPUT_FILE = _of_parameter(
    "Invalid file data: '{param}' has a file that is not valid base64.", "invalid_value", "guess"
)
NOT_STREAMABLE = _of_stream("This response cannot be streamed because it was not created with background=true.", "seen")
NOT_STREAMED = _of_stream(
    "This response cannot be streamed because it was not created with stream=true or the stream TTL has expired.",
    "stack",
)
STREAM_TOO_OLD = _of_stream("This response can no longer be streamed because it is more than 5 minutes old", "seen")
CANCEL_SYNCHRONOUS = ErrorType(400, "Cannot cancel a synchronous response.", "stack")
CANCEL_FINISHED = ErrorType(400, "Cannot cancel a {status} response.", "stack", "response_id", "invalid_request_error")
DELETE_IN_FLIGHT = ErrorType(400, "Cannot delete an in-flight response.", "stack")
UNSCRIPTED = _of_server(400, "No answer fits this request. {problem}", "no_answer")

CATALOGUE: dict[str, ErrorType] = {name.lower(): row for name, row in list(globals().items()) if type(row) is ErrorType}
"""Every error by its name in lower case."""
AZURE: dict[str, ErrorType] = {
    name.lower(): row for name, row in list(globals().items()) if type(row) is AzureErrorType
}
"""Those of Azure's gateway."""
