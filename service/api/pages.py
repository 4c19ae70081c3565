"""The pages of the documentation, `/docs` and `/redoc`. Their scripts and styles come from this service alone."""

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

# The files of Swagger UI (Apache-2.0) and ReDoc (MIT), with their licences. Its code would patch FastAPI; we do not
# import it.
PACKAGE = "fastapi_standalone_docs"
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
# Both write style elements. ReDoc searches in a worker that it makes itself.
POLICY = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_pages(app: FastAPI) -> None:
    """Add the pages and their files to *app*. All addresses are relative, so the pages work under any prefix."""
    swagger = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=f"{app.title} - Swagger UI",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    redoc = get_redoc_html(
        openapi_url="openapi.json",
        title=f"{app.title} - ReDoc",
        redoc_js_url="redoc/redoc.standalone.js",
        redoc_favicon_url="data:,",
        with_google_fonts=False,
    )
    _add_page(app, "/docs", swagger, "static/swagger")
    _add_page(app, "/redoc", redoc, "static/redoc")


def _add_page(app: FastAPI, path: str, page: HTMLResponse, files: str) -> None:
    html = bytes(page.body)
    policy = {"Content-Security-Policy": _policy(html)}

    async def show() -> HTMLResponse:
        return HTMLResponse(html, headers=policy)

    app.get(path, include_in_schema=False)(show)
    _add_files(app, path, StaticFiles(packages=[(PACKAGE, files)]))


def _add_files(app: FastAPI, path: str, files: StaticFiles) -> None:
    """Add a route for each of *files*. One mount for all would answer for every path and method below *path*."""
    for file in Path(files.all_directories[0]).iterdir():
        app.get(f"{path}/{file.name}", include_in_schema=False)(_sender(files, file.name))


def _sender(files: StaticFiles, name: str) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        return await files.get_response(name, request.scope)

    return send


def _policy(html: bytes) -> str:
    """Return the content security policy of *html*: its inline scripts may run, and files of this service."""
    hashes = [b64encode(sha256(script).digest()).decode() for script in INLINE_SCRIPT.findall(html)]
    return POLICY.format(hashes="".join(f" 'sha256-{each}'" for each in hashes))
