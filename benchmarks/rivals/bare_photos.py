"""A function that gives a picture out of a table, or 304, and does nothing else: no rule, no fault, no range."""

import json
import sys
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import uvicorn

from imagesync_pipelines.storage.reader import Reader

# The picture is read only where the reader has another one.
STATEMENT = """
SELECT checksum, octet_length(image_binary), CASE WHEN checksum <> $2::text THEN image_binary END
  FROM product_photo WHERE id = $1::uuid
"""


class Bare:
    """One application over the same reader."""

    def __init__(self, url: str) -> None:
        self._reader = Reader(sa.make_url(url))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        known = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"").decode().strip('"')
        [(checksum, length, body)] = await self._reader.rows(STATEMENT, UUID(scope["path"][8:]), known)
        headers = [(b"etag", f'"{checksum}"'.encode()), (b"content-type", b"image/jpeg")]
        if body is not None:
            headers.append((b"content-length", b"%d" % length))
        await send({"type": "http.response.start", "status": 304 if body is None else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body or b""})


def main(url: str, port: int) -> None:
    """Serve until the process is ended."""
    uvicorn.run(Bare(url), port=port, lifespan="off", log_level="error", access_log=False, server_header=False)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
