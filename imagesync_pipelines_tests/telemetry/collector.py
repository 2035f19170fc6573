"""A collector of OpenTelemetry: it takes traces and metrics over HTTP, as protobuf, and keeps them."""

import gzip
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Span:
    """A span as it came; kind: 2 answers a request, 3 makes one."""

    name: str
    trace: bytes
    id: bytes
    parent: bytes
    kind: int
    values: dict[str, Any]
    has_failed: bool


@dataclass
class Collector:
    """What came, oldest first; everything as text too, for looking for what must not be there."""

    url: str
    spans: list[Span] = field(default_factory=list)
    metrics: set[str] = field(default_factory=set)
    text: str = ""

    def below(self, span: Span) -> list[Span]:
        """The spans of which this one is the parent."""
        return [one for one in self.spans if one.parent == span.id]

    def named(self, name: str) -> Span:
        """The one span of this name."""
        [found] = [one for one in self.spans if one.name == name]
        return found

    def names(self) -> Counter[str]:
        """How many spans there are of each name."""
        return Counter(one.name for one in self.spans)

    def take(self, path: str, body: bytes) -> bytes:
        """Keep what was sent; gives the answer."""
        if path == "/v1/metrics":
            numbers = ExportMetricsServiceRequest.FromString(body)
            self.text += str(numbers)
            scopes = [scope for one in numbers.resource_metrics for scope in one.scope_metrics]
            self.metrics |= {metric.name for scope in scopes for metric in scope.metrics}
            return bytes(ExportMetricsServiceResponse().SerializeToString())
        assert path == "/v1/traces", path
        traces = ExportTraceServiceRequest.FromString(body)
        self.text += str(traces)
        scopes = [scope for one in traces.resource_spans for scope in one.scope_spans]
        for one in (span for scope in scopes for span in scope.spans):
            values = {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in one.attributes}
            found = Span(
                one.name, one.trace_id, one.span_id, one.parent_span_id, one.kind, values, one.status.code == 2
            )
            self.spans.append(found)
        return bytes(ExportTraceServiceResponse().SerializeToString())


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of this machine."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            with lock:
                answer = found.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
