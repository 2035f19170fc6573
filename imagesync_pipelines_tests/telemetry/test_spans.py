"""Runs, steps, calls and requests as spans, at a real collector; nothing of it where it is off."""

import atexit
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.telemetry.exporting import Exporter
from imagesync_pipelines.upstream.session import SessionPolicy
from imagesync_pipelines.web.gate import protect
from imagesync_pipelines_tests.cli.terminals import environment_of, shell
from imagesync_pipelines_tests.installations import World, world
from imagesync_pipelines_tests.places import ended_well
from imagesync_pipelines_tests.telemetry.collector import Collector, collecting
from imagesync_pipelines_tests.upstream.servers import Session, always, http, serve

# The command, which ends by naming the modules of OpenTelemetry's that it has imported, and of Dagster's.
PROGRAM = """
import atexit, sys
names = lambda: sorted({name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "dagster")})
atexit.register(lambda: print("MODULES", *names(), file=sys.stderr))
from imagesync_pipelines.cli.main import main
main()
"""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """This process tells a collector what it does."""
    with collecting() as found:
        exporter = Exporter(found.url)
        monkeypatch.setattr(spans, "_exporter", exporter)
        yield found
        exporter.end()


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("", ""),
        ("/", "/"),
        ("/api/images", "/api/images"),
        ("/api/v1/sync/product-photos/12/download/", "/api/v1/sync/product-photos/{id}/download/"),
        ("/entity/product/0a1b2c3d-0000-11ee-8080/images", "/entity/product/{id}/images"),
        ("/api/remap/1.2/entity/productFolder", "/api/remap/1.2/entity/productFolder"),
        ("/products/SKU-RED/x", "/products/{id}/x"),
        ("/a/photo.jpg", "/a/{id}"),
        ("/a/товар", "/a/{id}"),
        ("/a/%D1%82", "/a/{id}"),
        ("/a/" + "a" * 40, "/a/{id}"),
    ],
)
def test_a_route_is_a_path_without_ids(path: str, route: str) -> None:
    assert spans.route_of(path) == route


@pytest.mark.parametrize(
    ("variables", "is_on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"IMAGESYNC_OTEL": "1"}, True),
        ({"IMAGESYNC_OTEL": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
    ],
)
def test_it_is_off_unless_a_variable_says_otherwise(
    variables: dict[str, str], is_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert spans.load_settings(spans.TelemetrySettings).is_on == is_on


def test_each_attempt_of_a_call_is_a_span_without_query_or_id(collector: Collector) -> None:
    with serve(lambda request, number: [http(503 if number == 1 else 200, b"{}")]) as server:
        with spans.span("run x__sync"), spans.span("step x.read"):
            Session(spans_policy(server.url)).get("things/42", {"token": "canary"})
        assert [request.headers.get("traceparent") for request in server.requests] == [None, None]
    spans.send()
    step = collector.named("step x.read")
    calls = collector.below(step)
    assert collector.below(collector.named("run x__sync")) == [step]
    assert [one.name for one in calls] == ["GET /api/things/{id}"] * 2
    assert [one.values["http.response.status_code"] for one in calls] == [503, 200]
    assert [one.values["imagesync.attempt"] for one in calls] == [1, 2]
    assert {one.values["server.address"] for one in calls} == {"127.0.0.1"}
    assert "canary" not in collector.text
    assert {"http.client.request.duration", "imagesync.work.duration"} <= collector.metrics


def spans_policy(url: str, *, is_ours: bool = False) -> SessionPolicy:
    return SessionPolicy(f"{url}/api", tries=2, backoff_max=0, is_ours=is_ours)


def test_what_raises_is_a_failed_span_of_which_no_text_is_told(collector: Collector) -> None:
    with pytest.raises(ValueError, match="canary"), spans.span("step x.read"):
        raise ValueError("canary")
    spans.send()
    found = collector.named("step x.read")
    assert (found.has_failed, found.values["error.type"]) == (True, "ValueError")
    assert "canary" not in collector.text


def test_works_of_two_threads_that_end_in_any_order_leave_nothing_above_what_comes_later(collector: Collector) -> None:
    first, second = spans.span("first"), spans.span("second")
    first.__exit__(None, None, None)
    with spans.span("below second"):
        pass
    second.__exit__(None, None, None)
    with spans.span("after both"):
        pass
    spans.send()
    assert collector.named("below second").parent == collector.named("second").id
    assert collector.named("after both").parent == b""


def test_what_is_left_is_sent_at_the_end_of_a_process_which_starts_no_thread(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.12 starts none once it ends."""
    with monkeypatch.context() as patch:
        registered: list[Callable[[], object]] = []
        patch.setattr(atexit, "register", registered.append)
        patch.setattr(spans, "_exporter", Exporter(collector.url))
        with spans.span("the last"):
            pass

        start, ending = threading.Thread.start, threading.current_thread()

        def refused(thread: threading.Thread) -> None:
            # The collector's threads are of another process, elsewhere.
            if threading.current_thread() is ending:
                raise RuntimeError("can't create new thread at interpreter shutdown")
            start(thread)

        patch.setattr(threading.Thread, "start", refused)
        registered[-1]()
    assert collector.named("the last")


def application() -> Starlette:
    def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok", 404 if request.path_params.get("sku") == "none" else 200)

    inner = Starlette(routes=[Route("/images/{sku}", answer)])
    protect(inner)
    probes = [Route(path, answer) for path in ("/health", "/healthz", "/readyz", "/readyz/daemon", "/metrics")]
    outer = Starlette(routes=[*probes, Route("/products/{sku}", answer), Mount("/api/v1", inner)])
    protect(outer)
    return outer


def test_requests_are_spans_below_their_callers_and_probes_are_none(collector: Collector) -> None:
    site = TestClient(application(), client=("127.0.0.1", 1))
    caller = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    site.get("/products/none?q=canary", headers=caller)
    site.get("/api/v1/images/canary")
    site.get("/nowhere/canary")
    for probe in ("/health", "/healthz", "/readyz", "/readyz/daemon", "/metrics"):
        site.get(probe)
    spans.send()
    assert dict(collector.names()) == {"GET /products/{sku}": 1, "GET /api/v1/images/{sku}": 1, "GET": 1}
    one = collector.named("GET /products/{sku}")
    assert (one.trace.hex(), one.parent.hex(), one.kind) == ("ab" * 16, "cd" * 8, 2)
    assert one.values["http.response.status_code"] == 404
    assert "canary" not in collector.text


def test_a_service_of_ours_is_told_what_calls_it(collector: Collector) -> None:
    with serve(always(http(200, b"{}"))) as server:
        Session(spans_policy(server.url, is_ours=True)).get("x")
        [heard] = [request.headers["traceparent"] for request in server.requests]
    spans.send()
    made = collector.named("GET /api/x")
    assert heard.split("-")[1:3] == [made.trace.hex(), made.id.hex()]


@pytest.fixture(scope="module")
def place(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation that has been synchronised once."""
    with world(server, tmp_path_factory.mktemp("spans")) as made:
        ended_well(made.sync())
        yield made


@pytest.mark.slow
def test_a_synchronisation_is_one_tree_with_a_span_for_each_call(place: World, tmp_path: Path) -> None:
    place.sandbox.ledger.clear()
    with collecting() as collector:
        done = shell(place, tmp_path, "sync", "image-db", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert done.code == 0
    assert "OpenTelemetry" not in done.err
    start = collector.named("start image_db__sync")
    [run] = collector.below(start)
    steps = collector.below(run)
    assert start.parent == b""
    assert run.name == "run image_db__sync"
    assert run.values["imagesync.run_id"] in done.out
    assert {one.name.partition(".")[0] for one in steps} == {"step image_db"}
    assert len({one.name for one in steps}) == len(steps)
    # How many pages there are is asked before there is a run.
    look = collector.named("look image_db")
    assert len(collector.below(look)) == 1
    calls = [one for above in (look, *steps) for one in collector.below(above)]
    assert len(calls) == len(place.sandbox.ledger.calls()) > 2
    assert len(collector.spans) == 3 + len(steps) + len(calls), "no span for a statement"
    assert {one.name for one in calls} == {"GET /api/all-files-and-articles/"}
    assert {one.trace for one in collector.spans} == {start.trace, look.trace}
    secrets = {value for name, value in place.environment.items() if "PASSWORD" in name}
    assert not [secret for secret in secrets if secret in collector.text]
    assert "page_size" not in collector.text


@pytest.mark.slow
def test_off_imports_nothing_and_a_missing_package_or_collector_changes_no_run(place: World, tmp_path: Path) -> None:
    def sync(**more: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "sync", "image-db"], cwd=tmp_path, capture_output=True, text=True,
            check=False, env=environment_of(place, more), timeout=120,
        )  # fmt: skip
        return done.returncode, done.stderr

    code, said = sync()
    assert code == 0
    assert "MODULES dagster" in said
    assert "opentelemetry" not in said
    hidden = tmp_path / "hidden" / "opentelemetry"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not installed')")
    on = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    code, said = sync(PYTHONPATH=str(hidden.parent), **on)
    assert (code, said.count("pip install 'imagesync-pipelines[otel]'")) == (0, 1)
    # One that takes connections and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, said = sync(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert code == 0
    assert said.count("OpenTelemetry's collector at 127.0.0.1:") == 1
