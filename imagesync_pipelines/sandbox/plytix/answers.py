"""The envelopes of Plytix: lists in `data`, errors with a message and fields (contract section 4).

What belongs here: what every endpoint's answer is made of. What does not: the endpoints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.responses import Response

JSON = "application/json"
# `msg` of a field is a text mostly, but numbers and objects were seen.
FieldError = tuple[str, Any]


@dataclass(frozen=True)
class Answer:
    """What an endpoint answers; `body` None is an empty body."""

    status: int
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Refused(Exception):  # noqa: N818 - it is an answer, not a failure of the sandbox
    """A request that is answered with an error; raised anywhere below an endpoint."""

    status: int
    message: str
    fields: tuple[FieldError, ...] = ()


def found(records: Sequence[Mapping[str, Any]], **more: Any) -> Answer:
    """A 200 with records."""
    return Answer(200, {"data": records, **more})


def created(record: Mapping[str, Any], location: str) -> Answer:
    """A 201 with the one record that was made."""
    return Answer(201, {"data": [record]}, {"Location": location})


def error_body(refused: Refused) -> dict[str, Any]:
    """The error envelope; `errors` only where there are fields."""
    error: dict[str, Any] = {"msg": refused.message}
    if refused.fields:
        error["errors"] = [{"field": name, "msg": message} for name, message in refused.fields]
    return {"error": error}


def as_response(answer: Answer) -> Response:
    """The answer over HTTP."""
    if answer.body is None:
        return Response(b"", answer.status, dict(answer.headers))
    return Response(orjson.dumps(answer.body), answer.status, dict(answer.headers), JSON)


def schema_error(*fields: FieldError) -> Refused:
    """A 422 for a body of the wrong shape."""
    return Refused(422, "Schema validation error", fields)


def product_error(*fields: FieldError) -> Refused:
    """A 422 for values that a product cannot have."""
    return Refused(422, "product data validation failed", fields)


def no_such_product(product_id: str) -> Refused:
    """The 404 of a product; the space in front of the message is Plytix's."""
    return Refused(404, f" No results found for {product_id}", (("id", "product does not exist"),))


def no_such_asset(asset_id: str) -> Refused:
    """The 404 of an asset."""
    return Refused(404, f" No results found for {asset_id}", (("asset_id", "asset does not exist"),))
