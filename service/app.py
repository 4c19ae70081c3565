"""The application: its state, its routes, and the middleware around them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware

from service.api import operations
from service.api.authorization import Authorization
from service.api.catalogue import catalogue_routes
from service.api.errors import add_error_handlers
from service.api.openapi import describe_api
from service.api.pages import add_documentation, add_playlist_page
from service.api.prefix import Prefix
from service.api.recommendations import recommendation_routes
from service.api.requests import RequestReporter
from service.api.state import AppState
from service.settings import Settings

DESCRIPTION = """
Continues playlists with tracks or artists, and finds the neighbours of tracks and artists.

Ids are those of the data (`spotify:track:...`). Errors are `application/problem+json` (RFC 9457).
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """
    Create the application. Its lifespan opens and closes the model.

    Args:
        settings: default: those of the environment.
    """
    settings = settings or Settings()
    app = FastAPI(
        title="Segue",
        version=version("segue"),
        description=DESCRIPTION,
        lifespan=_lifespan,
        redirect_slashes=False,
        openapi_url=None,  # until the API is there: routes are tried in their order
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours is in service/telemetry
    )
    state = app.state.segue = AppState.of(settings)
    app.include_router(recommendation_routes(settings))
    app.include_router(catalogue_routes(settings))
    app.include_router(operations.router)
    app.openapi_url = "/openapi.json"
    app.setup()
    add_documentation(app)
    if settings.page:
        add_playlist_page(app)
    add_error_handlers(app)
    _add_middleware(app, state)
    describe_api(app, state.model)
    return app


def _add_middleware(app: FastAPI, state: AppState) -> None:
    """Add the middleware from the inside out."""
    # Not FastAPI's `max_body_size`: that one is outside of our middleware and answers in plain text.
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=state.settings.max_body_bytes)
    app.add_middleware(Authorization, state=state)
    if state.settings.cors_origins:
        # Outside of authorization: a browser asks without a key whether it may send one.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=state.settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    app.add_middleware(RequestReporter, state=state)
    app.add_middleware(Prefix, settings=state.settings)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: AppState = app.state.segue
    polling = asyncio.create_task(state.reloader.run())
    await state.reloader.settle()
    yield
    polling.cancel()
    with suppress(asyncio.CancelledError):
        await polling
    await state.auditor.stop()
    state.model.close()
    if state.tracer is not None:
        state.tracer.stop()
