"""What `Keyfob.install` adds to an application."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, RedirectResponse, Response

from .._errors import Misconfigured, Unavailable
from ._middleware import KeyfobMiddleware
from ._refusals import ToPage
from ._schemes import document_refusals

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from fastapi import FastAPI
    from starlette.requests import Request

LOG = logging.getLogger("keyfob")


def install(app: FastAPI, close: Callable[[], Awaitable[None]]) -> None:
    """Adds the middleware, exception handlers, the refusals in the document, and the end of the feed."""
    app.add_middleware(KeyfobMiddleware)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(Misconfigured, _misconfigured)
    app.add_exception_handler(ToPage, _to_page)
    vars(app)["openapi"] = document_refusals(app.openapi)
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def with_keyfob(running: Any) -> AsyncGenerator[Any, None]:
        async with lifespan(running) as state:
            try:
                yield state
            finally:
                await close()

    app.router.lifespan_context = with_keyfob


async def _unavailable(_: Request, error: Exception) -> Response:
    after = error.retry_after if isinstance(error, Unavailable) else 1
    LOG.warning("keyfob is unavailable, answered 503: %s", error)
    return JSONResponse({"detail": "Try again later"}, 503, {"Retry-After": str(after)})


async def _misconfigured(_: Request, error: Exception) -> Response:
    LOG.error("keyfob is not configured correctly, answered 500: %s", error)
    return JSONResponse({"detail": "Internal Server Error"}, 500)


async def _to_page(_: Request, error: Exception) -> Response:
    headers = (error.headers if isinstance(error, ToPage) else None) or {}
    return RedirectResponse(headers["Location"], 303, {"Cache-Control": headers["Cache-Control"]})
