"""What an address may say after its question mark."""

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from imagesync_pipelines.web.catalogue.api.problems import ApiRefusedError

LONGEST_SHOWN = 50


def known_only(request: Request) -> None:
    """Refuse a parameter that the address does not know: a filter that is misspelt would find everything."""
    route = request.scope["route"]
    known = {field.alias for field in route.dependant.query_params} if isinstance(route, APIRoute) else set()
    for name in request.query_params:
        if name not in known:
            shown = name[:LONGEST_SHOWN].encode(errors="replace").decode()
            told = f"It knows: {', '.join(sorted(known))}." if known else "It knows none."
            raise ApiRefusedError(422, f"This address does not know the parameter {shown!r}. {told}")


KNOWN_QUERY = Depends(known_only)
"""For the dependencies of every route."""
