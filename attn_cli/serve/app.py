"""The application: its routes, what is said where something goes wrong, and what is counted."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from attn_cli.errors import AttnError
from attn_cli.serve.desk import GONE, Desk, raised
from attn_cli.serve.openai_routes import OpenAiRoutes
from attn_cli.serve.own_routes import OwnRoutes
from attn_cli.serve.refusal import Refusal, openai_error
from attn_cli.serve.translate_routes import TranslateRoutes

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CLOSING = 10.0  # seconds that a batch may take to its end when the server stops


def make_app(desk: Desk) -> ASGIApp:
    """The application of a server.

    Args:
        desk: what its routes share; its models' threads end with the application.
    """
    translate = TranslateRoutes(desk)
    groups = (translate, OpenAiRoutes(desk), OwnRoutes(desk, translate))
    routes = [route for group in groups for route in group.routes]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        desk.models.close(_CLOSING)

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            Refusal: _refused,
            AttnError: _failed,
            HTTPException: _not_there,
            ClientDisconnect: _gone,
            Exception: _broken,
        },
    )
    return _Counting(app, desk, frozenset(route.path for route in routes))


class _Counting:
    """Counts each request by its route and status.

    Args:
        app: answers.
        desk: counts.
        known: the routes; what else is asked for is counted as one.
    """

    def __init__(self, app: ASGIApp, desk: Desk, known: frozenset[str]) -> None:
        self._app = app
        self._desk = desk
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), GONE

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = scope["path"] if scope["path"] in self._known else "other"
            self._desk.meter.answered(route, status, time.monotonic() - begun)


def _error(
    request: Request, status: int, cause: str, code: str | None, headers: dict[str, str]
) -> Response:
    """An error in the shape that the route's clients read."""
    openai = request.url.path.startswith("/v1/")
    body = openai_error(status, cause, code) if openai else {"error": cause}
    return JSONResponse(body, status_code=status, headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _error(request, error.status, error.cause, error.code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, AttnError)
    refusal = raised(error)
    return _error(request, refusal.status, refusal.cause, None, {})


async def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:80]
    causes = {
        404: f"nothing is at {path}; attn serve --help lists the routes",
        405: f"{path} is not asked by {request.method}",
    }
    cause = causes.get(error.status_code, error.detail)
    return _error(request, error.status_code, cause, None, dict(error.headers or {}))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=GONE)


async def _broken(request: Request, error: Exception) -> Response:
    cause = "a mistake of the server's own; what it was stands in its log"
    return _error(request, 500, cause, None, {})
