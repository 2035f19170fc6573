"""Pages that show an OpenAPI document to people: Swagger UI at /docs, ReDoc at /redoc, without a call to another host.

Their programs come from the wheel fastapi-standalone-docs (Swagger UI: Apache-2.0, ReDoc: MIT). Addresses on the pages
are relative: they hold wherever the application is mounted, and behind a proxy.
"""

import html
from importlib.resources import as_file, files

from fastapi import FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from imagesync_pipelines.web.gate import is_known

_ASSETS = {
    "swagger-ui.css": ("swagger", "text/css"),
    "swagger-ui-bundle.js": ("swagger", "text/javascript"),
    "redoc.standalone.js": ("redoc", "text/javascript"),
    # ReDoc itself asks for it, beside its page.
    "logo-mini.svg": ("redoc", "image/svg+xml"),
}
# ReDoc makes its styles and its search while it runs; Swagger UI has its icons in its style sheet.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<title>{title}</title><link rel="icon" href="data:,">{body}</html>'
)
_DOCS = (
    '<link rel="stylesheet" href="docs/swagger-ui.css"></head><body><div id="docs"></div>'
    '<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body>'
)
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null});'
_REDOC = (
    '<style>body { margin: 0 }</style></head><body><redoc spec-url="openapi.json"></redoc>'
    '<script src="redoc/redoc.standalone.js"></script></body>'
)


def add_documentation(app: FastAPI) -> None:
    """Give an application the pages; its document is at openapi.json beside them."""

    def page(body: str) -> HTMLResponse:
        return HTMLResponse(_PAGE.format(title=html.escape(app.title), body=body), headers=_HEADERS)

    app.add_route("/docs", lambda request: page(_DOCS), include_in_schema=False)
    app.add_route("/redoc", lambda request: page(_REDOC), include_in_schema=False)
    app.add_route("/docs/start.js", _start, include_in_schema=False)
    for place in ("/docs", "/redoc"):
        app.add_route(place + "/{name}", _asset, include_in_schema=False)


def _start(_: Request) -> Response:
    return Response(_START, headers=_HEADERS, media_type="text/javascript")


def _asset(request: Request) -> Response:
    """A file of the wheel; it changes with the wheel's version alone."""
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise HTTPException(404)
    folder, media_type = _ASSETS[name]
    with as_file(files("fastapi_standalone_docs") / "static" / folder / name) as path:
        about = path.stat()
        headers = {**_HEADERS, "ETag": f'"{about.st_mtime_ns:x}-{about.st_size:x}"'}
        if is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(path.read_bytes(), headers=headers, media_type=media_type)
