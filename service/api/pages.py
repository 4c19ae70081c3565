"""The pages: `/`, where a person continues a playlist, and the documentation. They load files of this service alone."""

import mimetypes
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from service.api.authorization import needs

# The files of Swagger UI (Apache-2.0) and ReDoc (MIT), with their licences. Its code would patch FastAPI; we do not
# import it.
PACKAGE = "fastapi_standalone_docs"
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self'{styles}; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; {more}"
)
mimetypes.add_type("text/javascript", ".js")  # whatever the system's table says, which an image may lack
# The names on `/` are foreign text: a browser with trusted types refuses to read any as markup.
PLAYLIST_POLICY = POLICY.format(scripts="", styles="", more="require-trusted-types-for 'script'")


def add_playlist_page(app: FastAPI) -> None:
    """
    Add `/` and its files to *app*.

    They hold no data, so everybody may load them. With keys, the page asks for one and sends it with its requests.
    """
    files, everybody = StaticFiles(packages=[("service", "page")]), [needs(None)]
    show = _sender(files, "index.html", {"Content-Security-Policy": PLAYLIST_POLICY})
    app.get("/", include_in_schema=False, dependencies=everybody)(show)
    _add_files(app, "/page", files, everybody)


def add_documentation(app: FastAPI) -> None:
    """Add `/docs` and `/redoc`. All addresses are relative, so that the pages work under any prefix, as `/` does."""
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


def _add_files(app: FastAPI, path: str, files: StaticFiles, dependencies: Sequence[Any] = ()) -> None:
    """Add a route for each file that a page loads. One mount would answer for every path and method below *path*."""
    for file in Path(files.all_directories[0]).iterdir():
        if file.suffix != ".html":
            route = app.get(f"{path}/{file.name}", include_in_schema=False, dependencies=dependencies)
            route(_sender(files, file.name))


def _sender(
    files: StaticFiles, name: str, headers: Mapping[str, str] | None = None
) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        response = await files.get_response(name, request.scope)
        response.headers.update(headers or {})
        return response

    return send


def _policy(html: bytes) -> str:
    """Return the content security policy of *html*: its inline scripts may run, and files of this service."""
    hashes = [b64encode(sha256(script).digest()).decode() for script in INLINE_SCRIPT.findall(html)]
    scripts = "".join(f" 'sha256-{each}'" for each in hashes)
    # Both pages write style elements. ReDoc searches in a worker that it makes itself.
    return POLICY.format(scripts=scripts, styles=" 'unsafe-inline'", more="worker-src blob:")
