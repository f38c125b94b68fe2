"""A request that is not answered as it was meant: the status, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818 - what is refused is the client's mistake, or bad luck
    """Answered by an HTTP status and a cause that names the remedy.

    Attributes:
        status: of HTTP.
        cause: what is wrong and what to do.
        headers: beside the answer.
        code: what OpenAI's clients call it.
    """

    def __init__(
        self,
        status: int,
        cause: str,
        *,
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(cause)
        self.status = status
        self.cause = cause
        self.headers = dict(headers or {})
        self.code = code


def bad_request(cause: str) -> Refusal:
    """What a client has to write in another way."""
    return Refusal(400, cause)


def openai_error(status: int, cause: str, code: str | None) -> dict[str, object]:
    """An error in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": cause, "type": kind, "param": None, "code": code}}
