"""What the image database does wrong on the wire: each fault, and afterwards the state of a run without it."""

from collections.abc import Callable
from typing import Any

import pytest

from imagesync_pipelines.connectors.image_db import pages
from imagesync_pipelines.products.erp import ErpError
from imagesync_pipelines.sandbox.faults import (
    WireFault,
    altered,
    answer,
    drip,
    html_page,
    rate_limited,
    redirect,
    reset,
    retry_after_date,
    server_error,
    timeout,
    truncated,
    wrong_length,
    xml_page,
)
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.sandbox.image_db.server import Sandbox
from imagesync_pipelines.storage.scans import RawPages
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines_tests.e2e.connectors import (
    Connector,
    Connectors,
    PageFailedError,
    assert_same_tables,
    from_scratch,
)

pytestmark = pytest.mark.slow

PAGES = 7


@pytest.fixture
def connector(connectors: Connectors, sandbox: Sandbox) -> Connector:
    """A connector after its first synchronisation, with a catalogue that has changed since."""
    made = from_scratch(connectors, sandbox, image_api_timeout=1)
    shown = made.table()["external_id"].unique()
    sandbox.mutate("delete", file_id=int(shown[0]))
    sandbox.mutate("re_export", file_id=int(shown[1]))
    sandbox.mutate("insert")
    return made


@pytest.mark.parametrize(
    "fault",
    [
        server_error(500).burst(2),
        server_error(503).burst(3),
        rate_limited(None).burst(2),
        rate_limited("2").burst(3),
        answer(503, "", Retry_After="1").burst(2),
        truncated().burst(2),
        wrong_length(50).burst(1),
        reset().burst(2),
        timeout().burst(1),
        altered().burst(1),
        answer(200, '{"count": 130, "next": nu', "application/json").burst(2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.times}",
)
def test_a_burst_of_faults_is_waited_out_and_the_scan_is_complete(
    connectors: Connectors, connector: Connector, sandbox: Sandbox, fault: WireFault
) -> None:
    sandbox.ledger.clear()
    sandbox.faults.add(fault.at(ENDPOINT, "1"), fault.at(ENDPOINT, "5"))
    result = connector.sync()
    assert result.landed is not None
    assert result.landed.complete, result.landed.reason
    assert fault.times is not None
    scans = 2  # images went since the last run, and a second scan confirms that
    assert result.landed.calls == scans * PAGES + 2 * fault.times == sandbox.ledger.count(ENDPOINT)
    assert len(connector.waits) == 2 * fault.times
    assert_same_tables(connector, from_scratch(connectors, sandbox))


def test_the_server_is_given_the_time_that_it_asks_for(connector: Connector, sandbox: Sandbox) -> None:
    sandbox.faults.add(rate_limited("3").at(ENDPOINT, "2"), rate_limited(retry_after_date(2)).at(ENDPOINT, "6"))
    connector.sync()
    assert any(wait >= 3 for wait in connector.waits)
    assert len(connector.waits) == 2


FOR_GOOD: dict[str, Callable[[], WireFault]] = {
    "500": lambda: server_error(500),
    "429": lambda: rate_limited(None),
    "HTML": html_page,
    "XML": xml_page,
    "cut in the body": truncated,
    "JSON cut short": lambda: answer(200, '{"count": 130, "next": null, "results": [{"or', "application/json"),
    "JSON of another kind": lambda: answer(200, '["page"]', "application/json"),
    "404 of a proxy": lambda: html_page(404),
    "redirect to another host": lambda: redirect("http://127.0.0.1:9/api/all-files-and-articles/"),
    "reset": reset,
    "timeout": timeout,
    "drip": lambda: drip(30),
}


@pytest.mark.parametrize("name", FOR_GOOD)
def test_a_page_that_fails_for_good_fails_the_run_removes_nothing_and_keeps_the_pages_read(
    connectors: Connectors, connector: Connector, sandbox: Sandbox, name: str
) -> None:
    if name in ("timeout", "drip"):
        connector.settings = connector.settings.model_copy(update={"image_api_timeout": 0.3})
    before = connector.stamps()
    sandbox.faults.add(FOR_GOOD[name]().at(ENDPOINT, "4").for_good())
    with pytest.raises((PageFailedError, UpstreamError)) as failed:
        connector.sync()
    assert "page=" not in str(failed.value)
    assert connector.stamps() == before
    latest = connector.scalar("SELECT max(id) FROM imagesync.scan")
    assert connector.scalar("SELECT state FROM imagesync.scan WHERE id = :id", id=latest) == "unproven"
    kept = RawPages(connector.place.engine, connector.place.storage, "image_db").entries(latest)
    assert len(kept) >= 2
    assert 4 not in [entry.page for entry in kept]
    sandbox.faults.clear()
    connector.settings = connector.settings.model_copy(update={"image_api_timeout": 5})
    assert connector.sync().written[2] >= 1
    assert_same_tables(connector, from_scratch(connectors, sandbox))


@pytest.mark.parametrize("name", ["500", "429", "HTML", "XML", "reset", "JSON cut short", "404 of a proxy"])
def test_an_api_that_is_down_is_a_clear_message_and_the_catalogue_keeps_its_images(
    connectors: Connectors, connector: Connector, sandbox: Sandbox, name: str
) -> None:
    before = connector.stamps()
    sandbox.faults.add(FOR_GOOD[name]().at(ENDPOINT).for_good())
    with pytest.raises(UpstreamError) as failed:
        connector.sync()
    text = str(failed.value)
    assert "localhost" in text
    assert "\n" not in text
    assert len(text) < 400
    assert sandbox.password not in text
    assert connector.stamps() == before
    sandbox.faults.clear()
    connector.sync()
    assert_same_tables(connector, from_scratch(connectors, sandbox))


def test_a_host_that_nobody_answers_on_is_a_clear_message(connector: Connector) -> None:
    before = connector.stamps()
    good = connector.settings
    connector.settings = good.model_copy(update={"image_api_url": "http://127.0.0.1:9/api/"})
    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1:9"):
        connector.sync()
    assert connector.stamps() == before
    connector.settings = good
    assert connector.sync().landed is not None


@pytest.mark.parametrize("part", ["pages", "products"])
def test_a_page_that_fails_in_a_partial_run_fails_that_run_too(
    connectors: Connectors, connector: Connector, sandbox: Sandbox, part: str
) -> None:
    before = connector.stamps()
    sku = connector.scalar(
        "SELECT p.sku FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id"
    )
    connector.settings = connector.settings.model_copy(update={"image_api_cache_enabled": False})
    sandbox.faults.add(server_error(500).at(ENDPOINT, "3").for_good())
    options: dict[str, Any] = {"limit": 3, "skip_pages": 1} if part == "pages" else {"skus": [sku]}
    with pytest.raises(Exception, match="page 3"):
        connector.sync(**options)
    assert connector.stamps() == before
    sandbox.faults.clear()
    connector.sync()
    assert_same_tables(connector, from_scratch(connectors, sandbox))


@pytest.mark.parametrize("damage", ["missing", "empty", "header only", "half"])
def test_an_erp_that_gives_nothing_or_half_takes_no_image_away(
    connectors: Connectors, connector: Connector, sandbox: Sandbox, damage: str
) -> None:
    before = connector.stamps()
    path = connector.settings.erp_variants_file
    parents = connector.settings.erp_parents_file
    assert path is not None
    assert parents is not None
    whole = {file: file.read_text() for file in (path, parents)}
    for file, text in whole.items():
        lines = text.splitlines(keepends=True)
        if damage == "missing":
            file.unlink()
        else:
            keep = {"empty": 0, "header only": 1, "half": len(lines) // 2}[damage]
            file.write_text("".join(lines[:keep]))
    if damage == "half":
        result = connector.sync()
        assert any("no longer has" in warning for warning in connector.products().warnings)
        assert result.written[2] <= 5
    else:
        with pytest.raises(ErpError):
            connector.sync()
        assert connector.stamps() == before
    for file, text in whole.items():
        file.write_text(text)
    connector.sync()
    assert_same_tables(connector, from_scratch(connectors, sandbox))


def test_a_stored_page_that_was_damaged_on_disk_is_named_and_read_again_by_the_next_scan(
    connectors: Connectors, connector: Connector, sandbox: Sandbox
) -> None:
    sku = connector.scalar(
        "SELECT p.sku FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id"
    )
    entry = pages.stored_pages(connector.context("")).entries(1)[2]
    (connector.place.storage / entry.path).write_bytes(b"not what was written")
    before = connector.stamps()
    with pytest.raises(Exception, match=r"page 3 of scan 1 is damaged"):
        connector.sync(skus=[sku])
    assert connector.stamps() == before
    connector.sync()
    assert_same_tables(connector, from_scratch(connectors, sandbox))
