"""The made-up pages over HTTP on loopback, for rivals that only read from a server."""

import json
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.pages import API, read_made


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per answer; the default writes headers and body apart and waits in between

    def __init__(self, path: Path, places: list[tuple[int, int]], *arguments: object) -> None:
        self.pages, self.places = path, places
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """One page; the next link leads to this server."""
        number = int(parse_qs(urlsplit(self.path).query).get("page", ["1"])[0])
        start, length = self.places[number - 1]
        with self.pages.open("rb") as file:
            file.seek(start)
            body = file.read(length)
        body = body.replace(API.encode(), f"http://{self.headers['Host']}/api/image-data/".encode(), 1)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(folder: Path) -> None:
    """Serve until the process is ended; prints the port first."""
    made, places, start = read_made(folder), [], 0
    for body in made.bodies():
        places.append((start, len(body)))
        start += len(body)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, made.path, places)) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(Path(json.loads(sys.argv[1])["pages"]))
