"""A function that gives a picture out of a table, or 304, and does nothing else: no rule, no fault, no limit."""

import json
import sys
from typing import Any
from uuid import UUID

import psycopg
import uvicorn

# The picture is read only where the reader has another one.
STATEMENT = """
SELECT checksum, octet_length(image_binary), CASE WHEN checksum <> %(known)t THEN image_binary END
  FROM product_photo WHERE id = %(id)b
"""


class Bare:
    """One application over one connection at a time of a few."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[psycopg.AsyncConnection[Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        known = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"").decode().strip('"')
        idle = self._idle
        connection = (
            idle.pop()
            if idle
            else await psycopg.AsyncConnection.connect(self._url, autocommit=True, prepare_threshold=0)
        )
        values = {"id": UUID(scope["path"][8:]), "known": known}
        cursor = await connection.execute(STATEMENT, values, binary=True)
        found = await cursor.fetchone()
        idle.append(connection)
        assert found is not None
        checksum, length, body = found
        headers = [(b"etag", f'"{checksum}"'.encode()), (b"content-type", b"image/jpeg")]
        if body is not None:
            headers.append((b"content-length", b"%d" % length))
        await send({"type": "http.response.start", "status": 304 if body is None else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body or b""})


def main(url: str, port: int) -> None:
    """Serve until the process is ended."""
    url = url.replace("+psycopg", "")
    uvicorn.run(Bare(url), port=port, lifespan="off", log_level="error", access_log=False, server_header=False)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
