"""Requests that a service of ours answers, as spans below those of who calls it; probes make none."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagesync_pipelines.telemetry import spans

PROBES = frozenset({"/health", "/healthz", "/readyz", "/readyz/daemon", "/metrics"})
# The routes that led to the answer, of an application inside another one first.
_ROUTES = "imagesync.routes"


class Traced:
    """Passes requests on, each as a span that is called by its route: a path may hold anything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        # Who answers changes both.
        above, method = scope.get("root_path", ""), scope["method"]
        if _ROUTES in scope:
            await self._app(scope, receive, send)
            scope[_ROUTES].append(above + _route_in(scope))
            return
        routes: list[str] = []
        scope[_ROUTES] = routes
        with spans.request(method, Headers(scope=scope).get(spans.PARENT_HEADER, "")) as made:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    made.note(http__response__status_code=message["status"])
                await send(message)

            try:
                await self._app(scope, receive, noted)
            finally:
                route = next(filter(None, [*routes, above + _route_in(scope)]), "")
                if route:
                    made.note(name=f"{method} {route}", http__route=route)


def _route_in(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", ""))
