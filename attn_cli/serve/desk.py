"""What every route needs: models, limits, who may ask; how a request is read and waited for."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from attn_cli.config import nearest, shown
from attn_cli.config.serving import LimitOptions
from attn_cli.errors import AttnError, DataError, NotThereError, UsageError
from attn_cli.files import read_bounded
from attn_cli.serve.fields import Fields
from attn_cli.serve.meter import Meter
from attn_cli.serve.models import Models
from attn_cli.serve.refusal import Refusal, bad_request
from attn_cli.wording import plural

T = TypeVar("T")
Endpoint = Callable[[Request], Coroutine[object, object, Response]]
Handler = Callable[[Request, Fields], Awaitable[Response]]

GONE = 499  # nginx's: the client has left, and reads no answer
_CLOSE = {"Connection": "close"}  # where a body was not read to its end
_MOST_KEYS = 1 << 20  # bytes of their file


@dataclass(frozen=True)
class Desk:
    """What routes share.

    Attributes:
        models: what is served.
        limits: of requests.
        meter: counts.
        keys: who may ask; empty: everybody.
    """

    models: Models
    limits: LimitOptions
    meter: Meter = field(default_factory=Meter)
    keys: frozenset[bytes] = frozenset()

    # --- who asks ---

    def check_key(self, request: Request, said: str | None = None) -> None:
        """Makes sure that a request shows a key, where keys are asked for.

        Args:
            request: whose header may have it.
            said: what the body has.

        Raises:
            Refusal: it shows none of them.
        """
        if not self.keys:
            return
        header = request.headers.get("authorization", "")
        scheme, _, shown_key = header.partition(" ")
        key = shown_key.strip() if scheme.lower() == "bearer" else said
        given = (key or "").encode("utf-8", "replace")
        # Every key is compared, so that the time tells nothing.
        if sum(hmac.compare_digest(given, known) for known in self.keys) == 0:
            cause = "this key is not known" if key else "a key is needed"
            raise Refusal(
                401,
                f"{cause}: send the header Authorization: Bearer KEY, or api_key in the body",
                headers={"WWW-Authenticate": "Bearer"},
                code="invalid_api_key",
            )

    # --- what is asked ---

    def check_texts(self, texts: Sequence[str]) -> None:
        """Makes sure that a request is no larger than allowed.

        Raises:
            Refusal: it has more lines or characters.
        """
        lines = sum(text.count("\n") + 1 for text in texts)
        if lines > self.limits.max_lines:
            raise bad_request(
                f"{plural(lines, 'line')} in one request, of {self.limits.max_lines:,} that are "
                "allowed (--max-lines); send several requests"
            )
        chars = sum(map(len, texts))
        if chars > self.limits.max_chars:
            raise bad_request(
                f"{plural(chars, 'character')} in one request, of {self.limits.max_chars:,} that "
                "are allowed (--max-chars); send several requests"
            )

    def posted(self, handler: Handler, *, key_in_body: bool = False) -> Endpoint:
        """An endpoint that reads fields and answers them in time, or gives up when nobody listens.

        Args:
            handler: answers.
            key_in_body: whether `api_key` may stand among the fields.
        """

        async def endpoint(request: Request) -> Response:
            if not key_in_body:
                self.check_key(request)
            fields: Fields | None = None
            try:
                async with asyncio.timeout(self.limits.timeout):
                    body = await self._body(request)
                    fields = Fields.parse(body, request.headers.get("content-type", ""))
                    if key_in_body:
                        self.check_key(request, fields.text("api_key", ""))
                    return await unless_gone(request, handler(request, fields))
            except TimeoutError as error:
                seconds = f"{self.limits.timeout:g} seconds (--timeout)"
                if fields is None:
                    raise Refusal(
                        408, f"the request did not come in within {seconds}", headers=_CLOSE
                    ) from error
                raise Refusal(
                    504, f"no answer within {seconds}: ask for less at once, or again later"
                ) from error

        return endpoint

    async def _body(self, request: Request) -> bytes:
        """The body, of no more than the allowed size.

        Raises:
            Refusal: it is larger.
        """
        limit = self.limits.max_body
        parts, size = [], 0
        declared = request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and len(declared) < 19:
            size = int(declared) if int(declared) > limit else 0
        if not size:
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > limit:
                    break
        if size > limit:
            raise Refusal(
                413,
                f"a body of more than {limit:,} bytes (--max-body); send several requests",
                headers=_CLOSE,
            )
        return b"".join(parts)


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of some work, which is given up when the client leaves.

    Raises:
        Refusal: it has left.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Refusal(GONE, "the client has left")
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    """Returns once the client has left; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def chosen(group: Mapping[str, T], name: str | None, what: str) -> tuple[str, T]:
    """The model that a request names, or the only one there is.

    Args:
        group: the models that can answer it.
        name: the one that is asked for.
        what: what such a model is called.

    Raises:
        Refusal: there is no such model, or several and none was named.
    """
    known = ", ".join(sorted(group))
    if not group:
        raise Refusal(404, f"{what} is not served here", code="model_not_found")
    if name is None and len(group) == 1:
        return next(iter(group.items()))
    if name is None:
        raise bad_request(f"model is missing; here are {known}")
    if name not in group:
        raise Refusal(
            404,
            f"the model {shown(name)} is not served here as {what}{nearest(name, group)}; "
            f"here are {known}",
            code="model_not_found",
        )
    return name, group[name]


def raised(error: AttnError) -> Refusal:
    """An error of a model as an answer."""
    return Refusal(400 if isinstance(error, DataError | UsageError) else 500, str(error))


def read_keys(path: str | None) -> frozenset[bytes]:
    """The keys of a file, one a line; blank lines and those that begin with `#` are none.

    Raises:
        NotThereError: there is no such file.
        DataError: it can't be read, or holds no key.
    """
    if path is None:
        return frozenset()
    if not Path(path).exists():
        raise NotThereError(f"--api-keys {path}: no such file")
    raw = read_bounded(Path(path), _MOST_KEYS, "larger than 1 MiB; this is no file of keys")
    lines = (line.strip() for line in raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    keys = frozenset(line for line in lines if line and not line.startswith(b"#"))
    if not all(key.decode("utf-8", "surrogateescape").isprintable() for key in keys):
        raise DataError(f"{path}: no file of keys: a key is a line of characters in UTF-8")
    if not keys:
        raise DataError(f"{path}: holds no key; write one a line, or leave --api-keys out")
    return keys
