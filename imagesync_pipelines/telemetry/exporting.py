"""Spans and numbers on their way to OpenTelemetry's collector; imported only where telemetry is on.

Nothing waits for the collector: what does not fit into the queue is lost, and one line of the log says that it is away.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Self
from urllib.parse import urlsplit

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Counter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from imagesync_pipelines.telemetry.spans import PARENT_HEADER, Value, route_of

DEFAULT_ENDPOINT = "http://localhost:4318"
# A collector that takes longer is away.
ANSWER_SECONDS = 2.0
QUEUE, AT_ONCE, EVERY_MS = 4096, 512, 2000
METRICS_EVERY_MS = 30_000
_PORTS = {"http": 80, "https": 443}

_logger = logging.getLogger("imagesync")
_propagator = TraceContextTextMapPropagator()


class _ToldOnce(logging.Handler):
    """What OpenTelemetry logs of a collector that does not answer, once and in our words."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(logging.WARNING)
        self._where = urlsplit(endpoint).netloc.rpartition("@")[2]
        self._is_told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Tell it, unless it was told."""
        if not self._is_told:
            self._is_told = True
            _logger.warning(
                "OpenTelemetry's collector at %s does not take what we send; runs go on without it.", self._where
            )


class OpenSpan:
    """A span, which ends with its `with` block."""

    def __init__(self, opened: trace.Span, ended: Callable[[float, Mapping[str, Value]], None] | None = None) -> None:
        self._span, self._ended = opened, ended
        self._values: dict[str, Value] = {}
        self._began = time.perf_counter()

    def __enter__(self) -> Self:
        """It has begun when it was made."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End it; of an exception only its kind is told, since its text may be anything."""
        error = raised[1] if len(raised) > 1 else None
        if error is not None:
            self.note(error__type=type(error).__name__)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        if self._ended is not None:
            self._ended(time.perf_counter() - self._began, self._values)

    def note(self, **values: Value) -> None:
        """Say more of it; `a__b` is the attribute a.b, and `name` its name."""
        for key, value in values.items():
            if key == "name":
                self._span.update_name(str(value))
                continue
            self._values[key.replace("__", ".")] = value
            self._span.set_attribute(key.replace("__", "."), value)

    def headers(self) -> Mapping[str, str]:
        """What tells a service of ours that this span calls it."""
        return _carried(trace.set_span_in_context(self._span))


class _WorkSpan(OpenSpan):
    """A span of the whole process: what has no span above it in its own thread is below this one."""

    def __init__(self, exporter: "Exporter", opened: trace.Span, name: str) -> None:
        super().__init__(opened, exporter.ended_work(name))
        self._works, self._mine = exporter.works, trace.set_span_in_context(opened)
        self._works.append(self._mine)

    def __exit__(self, *raised: object) -> None:
        """End it; those of other threads may have begun or ended meanwhile, in any order."""
        self._works[:] = [one for one in self._works if one is not self._mine]
        super().__exit__(*raised)


class _RequestSpan(OpenSpan):
    """A span of one task: a request is answered beside others."""

    def __enter__(self) -> Self:
        """Put what the task does below it."""
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, *raised: object) -> None:
        """End it."""
        context.detach(self._token)
        super().__exit__(*raised)


class Exporter:
    """Traces and metrics of this process. works: what is at work; the last is what everything else is below."""

    def __init__(self, endpoint: str | None) -> None:
        where = (endpoint or DEFAULT_ENDPOINT).rstrip("/")
        theirs = logging.getLogger("opentelemetry")
        theirs.handlers[:], theirs.propagate = [_ToldOnce(where)], False
        service = {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", "imagesync"),
            "service.version": version("imagesync-pipelines"),
        }
        resource = Resource.create(service)
        self.works: list[Context] = []
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(endpoint=f"{where}/v1/traces", timeout=ANSWER_SECONDS),
                max_queue_size=QUEUE,
                max_export_batch_size=AT_ONCE,
                schedule_delay_millis=EVERY_MS,
            )
        )
        self._tracer = self._traces.get_tracer("imagesync")
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{where}/v1/metrics", timeout=ANSWER_SECONDS),
            export_interval_millis=METRICS_EVERY_MS,
            export_timeout_millis=ANSWER_SECONDS * 1000,
        )
        self._numbers = MeterProvider([reader], resource, shutdown_on_exit=False)
        self._meter = self._numbers.get_meter("imagesync")
        self._calls = self._meter.create_histogram("http.client.request.duration", "s")
        self._requests = self._meter.create_histogram("http.server.request.duration", "s")
        self._work = self._meter.create_histogram("imagesync.work.duration", "s", "Runs and their steps")
        self._counters: dict[str, Counter] = {}
        # Started now: while Python ends it starts no thread any more.
        self._ends = threading.Event()
        self._last = threading.Thread(target=self._send_at_end, name="telemetry at end", daemon=True)
        self._last.start()
        atexit.register(self._end_of_process)

    def work(self, name: str, parent: str, values: Mapping[str, Value]) -> OpenSpan:
        """See `spans.span`."""
        above = _above(parent) if parent else self._here()
        found = _WorkSpan(self, self._tracer.start_span(name, above), name)
        found.note(**values)
        return found

    def call(self, method: str, url: str, has_route: bool, attempt: int) -> OpenSpan:
        """See `spans.call`."""
        parts = urlsplit(url)
        route = route_of(parts.path) if has_route else ""
        opened = self._tracer.start_span(f"{method} {route}".strip(), self._here(), SpanKind.CLIENT)
        found = OpenSpan(opened, self._ended_call)
        found.note(
            http__request__method=method,
            server__address=parts.hostname or "",
            server__port=parts.port or _PORTS.get(parts.scheme, 0),
            imagesync__attempt=attempt,
            **({"url__template": route} if route else {}),
        )
        return found

    def request(self, method: str, parent: str) -> OpenSpan:
        """See `spans.request`."""
        opened = self._tracer.start_span(method, _above(parent), SpanKind.SERVER)
        found = _RequestSpan(opened, self._requests.record)
        found.note(http__request__method=method)
        return found

    def count(self, name: str, number: int, values: Mapping[str, Value]) -> None:
        """See `spans.count`."""
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = self._meter.create_counter(name)
        counter.add(number, dict(values))

    def here(self) -> Mapping[str, str]:
        """What names the span that this process is at; nothing where there is none."""
        return _carried(self._here())

    def ended_work(self, name: str) -> Callable[[float, Mapping[str, Value]], None]:
        """What notes how long a run or a step took; which run it was is no part of a number."""

        def ended(seconds: float, values: Mapping[str, Value]) -> None:
            kept = {key: value for key, value in values.items() if key != "imagesync.run_id"}
            self._work.record(seconds, {"work": name, **kept})

        return ended

    def send(self) -> None:
        """See `spans.send`; who sends is left behind when the collector takes longer."""
        sender = threading.Thread(target=self._send_all, name="telemetry", daemon=True)
        sender.start()
        sender.join(ANSWER_SECONDS)

    def end(self) -> None:
        """Send what is there, and nothing after it."""
        atexit.unregister(self._end_of_process)
        self._end_of_process()
        self._traces.shutdown()
        self._numbers.shutdown()

    def _end_of_process(self) -> None:
        self._ends.set()
        self._last.join(ANSWER_SECONDS)

    def _send_at_end(self) -> None:
        self._ends.wait()
        self._send_all()

    def _send_all(self) -> None:
        self._traces.force_flush()
        self._numbers.force_flush()

    def _ended_call(self, seconds: float, values: Mapping[str, Value]) -> None:
        self._calls.record(seconds, {key: value for key, value in values.items() if key != "imagesync.attempt"})

    def _here(self) -> Context | None:
        works = self.works[-1:]
        return None if trace.get_current_span().get_span_context().is_valid or not works else works[0]


def _above(parent: str) -> Context:
    return _propagator.extract({PARENT_HEADER: parent}, Context())


def _carried(at: Context | None) -> Mapping[str, str]:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, at)
    return {name: carrier[name] for name in (PARENT_HEADER,) if name in carrier}
