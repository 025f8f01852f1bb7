"""The shapes of errors on the wire: of OpenAI, of Azure's gateway, and of a proxy in front of the API."""

from dataclasses import dataclass
from typing import Any, Literal

Grade = Literal["doc", "seen", "probe", "stack", "guess"]


class APIError(Exception):
    """An error that is sent to the client as the response."""

    indent: int | None = 2
    row: "ErrorType | None" = None
    """The row of the catalogue that it is; None for one of a fault that only has a status."""

    def __init__(
        self,
        status: int,
        message: str,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.headers = headers or {}

    def body(self, detail: bool = False) -> dict[str, Any]:
        """Return the envelope, in wire order; the Files API repeats message and code under `detail`."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error, "detail": {"message": self.message, "code": self.code}} if detail else {"error": error}


@dataclass(frozen=True, slots=True)
class ErrorType:
    """A row of the catalogue. `message` and `param` are templates for `str.format`."""

    status: int
    message: str
    grade: Grade
    param: str | None = None
    code: str | None = None
    type: str = "invalid_request_error"
    headers: tuple[tuple[str, str], ...] = ()
    text: bool = False
    """Whether a proxy in front of the API sends it: the message is the whole body, as plain text."""

    def __call__(self, **words: object) -> APIError:
        message, param = self.message.format(**words), self.param and self.param.format(**words)
        error = APIError(self.status, message, self.type, param, self.code, dict(self.headers))
        error.row = self
        return error


_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
}


def json_type(value: Any) -> str:
    """Return the type of a JSON value as errors name it: `a string`, `an integer`, `null`."""
    return _JSON_TYPES.get(type(value), "an object")


class IntendedFailure(Exception):
    """A rule behaves like a failure of the live API: its 500, with the id of the request."""


class AzureError(APIError):
    """An error of Azure's gateway, which has its own shape, on one line."""

    indent = None

    def body(self, detail: bool = False) -> dict[str, Any]:
        if self.code is None:
            return {"statusCode": self.status, "message": self.message}
        return {"error": {"code": self.code, "message": self.message}}


class AzureErrorType(ErrorType):
    """An error of Azure's gateway; without a code it has the older of two shapes."""

    def __call__(self, **words: object) -> AzureError:
        return AzureError(self.status, self.message.format(**words), code=self.code)


@dataclass(frozen=True, slots=True)
class ControlErrorType(ErrorType):
    """An error of the control plane, which the live API does not have, so that it is no fact about it."""

    grade: Grade = "guess"
