"""What stand-ins answer with, draw and fetch, as values; and what is wrong with how they are used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import jwt
import orjson
from PIL import Image
from starlette.responses import Response
from starlette.types import Scope

from imagesync_pipelines.errors import ImagesyncError

# The endpoint of a call and its part (a page, an id, a file name), for the ledger and the faults.
CalledPlace = tuple[str, str]
PlaceOf = Callable[[Scope], CalledPlace | None]
Values = dict[str, Any]


class SandboxError(ImagesyncError):
    """A stand-in was told to do what it cannot do; the message says what is expected."""


@dataclass(frozen=True)
class SentReply:
    """What an endpoint answers; an empty `body` is an empty body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def response(self) -> Response:
        """The reply over HTTP."""
        return Response(self.body, self.status, dict(self.headers), self.content_type if self.body else None)


@dataclass(frozen=True)
class FetchedFile:
    """What came from an address, redirects followed; `content_type` is what the host claims."""

    status: int
    content_type: str
    body: bytes


def replied(body: object, status: int = 200, **headers: str) -> SentReply:
    """A reply in JSON; a header `Retry_After="2"` is sent as `Retry-After: 2`."""
    return SentReply(status, orjson.dumps(body), {name.replace("_", "-"): value for name, value in headers.items()})


def claims_in(token: str, secret: str, algorithm: str) -> dict[str, Any] | None:
    """The claims of a token that was signed with the secret; whether it has ended is for the sandbox's clock to say."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token, secret, [algorithm], options={"verify_exp": False, "verify_iat": False, "require": ["exp"]}
        )
    except jwt.InvalidTokenError:
        return None
    return claims


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as a file of a kind that Pillow knows (`JPEG`, `PNG` …), with its options of saving."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flipped(content: bytes) -> bytes:
    """The same bytes with sixteen in the middle flipped; the length stays."""
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 16]) + content[middle + 16 :]
