"""Proves that the stand-in runs as a whole: from a context manager and from the command line."""

import json
import os
import signal
import threading
from functools import partial
from pathlib import Path

import pytest
import requests

from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.sandbox.amazon.mapping import demo_mapping
from imagesync_pipelines.sandbox.amazon.server import amazon_sandbox, lines_of
from imagesync_pipelines.sandbox.server import ServingError, bind, serve

pytestmark = pytest.mark.slow


def test_the_demo_is_served_by_default_and_every_link_of_its_mapping_is_there() -> None:
    with amazon_sandbox() as amazon:
        assert amazon.listings == demo_listings()
        for entry in demo_mapping()["matched"][::11]:
            assert amazon.fetch(entry["amazon_image_main"]).status == 200
        assert amazon.ledger.as_json() == {"image": {"200": 2}}


def test_hosts_are_apart() -> None:
    with amazon_sandbox([]) as amazon:
        assert len({amazon.url, amazon.images_url, amazon.token_url.removesuffix("/auth/o2/token")}) == 3
        assert amazon.listings == ()
        assert "sandbox-only" not in repr(amazon.application)


def test_it_is_served_until_it_is_stopped(tmp_path: Path) -> None:
    lines: list[str] = []
    answers: list[int] = []

    def look_and_stop(line: str) -> None:
        lines.append(line)
        if "refresh token" in line:
            images = lines[1].rpartition(" ")[2]
            answers.append(requests.get(f"{images}/images/I/31missingggL.jpg", timeout=10).status_code)
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    serve(amazon_sandbox(), look_and_stop, partial(lines_of, mapping=tmp_path / "demo.json"))
    assert answers == [404]
    assert json.loads((tmp_path / "demo.json").read_text(encoding="utf-8")) == demo_mapping()


def test_a_taken_port_is_named() -> None:
    listener = bind()
    port = listener.getsockname()[1]
    with listener, pytest.raises(ServingError, match=str(port)):
        serve(amazon_sandbox(port=port), print, lines_of)
