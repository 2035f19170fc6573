"""Proves that uploads by URL are really fetched over HTTP: redirects, pages, bodies that are cut short."""

import socket
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultPlan
from imagesync_pipelines.sandbox.ledger import CallLedger
from imagesync_pipelines.sandbox.plytix.server import plytix_sandbox
from imagesync_pipelines.sandbox.server import LOOPBACK, bind, running
from imagesync_pipelines.sandbox.wire import observed
from imagesync_pipelines_tests.sandbox.plytix.callers import NO_LIMITS, Caller, errors_of, picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mishaps() -> FaultPlan:
    """What goes wrong at the image host."""
    return FaultPlan()


@pytest.fixture(scope="module")
def images(mishaps: FaultPlan) -> Iterator[str]:
    """An image host: every path below /images/I/ is a picture of its name, /moved/… leads there."""

    def image(request: Request) -> Response:
        return Response(picture(request.path_params["name"]) * 1000, media_type="image/jpeg")

    def moved(request: Request) -> Response:
        return RedirectResponse(f"/images/I/{request.path_params['name']}", 302)

    def page(request: Request) -> Response:
        return HTMLResponse("<html><body>no picture</body></html>")

    app = Starlette(routes=[Route("/images/I/{name}", image), Route("/moved/{name}", moved), Route("/page.jpg", page)])
    listener = bind()
    watched = observed(app, _place, mishaps, CallLedger(), SandboxClock())
    with running((watched, listener)):
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"


@pytest.fixture
def fetching(images: str, mishaps: FaultPlan) -> Iterator[Caller]:
    """A Plytix with no fetch of the test's own."""
    mishaps.clear()
    with plytix_sandbox(limits=NO_LIMITS) as sandbox:
        yield Caller(sandbox)


def test_a_picture_is_fetched_and_stored_whole(fetching: Caller, images: str) -> None:
    answer = fetching.upload(f"{images}/images/I/31+a.jpg")
    assert answer.status_code == 201
    assert fetching.sandbox.assets()[0].content == picture("31+a.jpg") * 1000


def test_a_redirect_is_followed_and_the_name_is_of_the_url_that_was_sent(fetching: Caller, images: str) -> None:
    answer = fetching.upload(f"{images}/moved/91a.jpg", filename="91a.jpg")
    assert answer.status_code == 201
    assert fetching.upload(f"{images}/images/I/91a.jpg").status_code == 409


@pytest.mark.parametrize(
    "fault",
    [faults.truncated(), faults.reset(), faults.answer(404), faults.answer(403), faults.server_error(503)],
    ids=["truncated", "reset", "404", "403", "503"],
)
def test_a_fetch_that_fails_stores_nothing_and_may_work_later(
    fetching: Caller, images: str, mishaps: FaultPlan, fault: faults.WireFault
) -> None:
    mishaps.add(fault)
    answer = fetching.upload(f"{images}/images/I/1.jpg")
    assert (answer.status_code, errors_of(answer)[0][0]) == (422, "url")
    assert fetching.sandbox.assets() == ()
    assert fetching.upload(f"{images}/images/I/1.jpg").status_code == 201


def test_a_page_is_no_picture(fetching: Caller, images: str) -> None:
    assert fetching.upload(f"{images}/page.jpg").status_code == 422


def test_a_slow_host_makes_a_slow_upload(fetching: Caller, images: str, mishaps: FaultPlan) -> None:
    mishaps.add(faults.latency(0.5))
    assert fetching.upload(f"{images}/images/I/1.jpg").elapsed.total_seconds() > 0.5


def test_a_port_where_nobody_listens_is_refused(fetching: Caller) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
    assert fetching.upload(f"http://{LOOPBACK}:{port}/a.jpg").status_code == 422


def _place(scope: Scope) -> tuple[str, str]:
    return "image", str(scope["path"])
