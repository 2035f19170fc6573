"""Proves the request budgets of contract section 10 with plain callers, and that no body breaks the server."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.sandbox.plytix.app import DOORS
from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.sandbox.plytix.server import GALLERY, PlytixSandbox, plytix_sandbox
from imagesync_pipelines.sandbox.routes import Door
from imagesync_pipelines_tests.sandbox.plytix.callers import NO_LIMITS, Caller, Web, condition

pytestmark = pytest.mark.slow

# Eleven products with eight images each, five with four others: as the real mapping file.
LISTINGS = {
    f"AMZN-US-B{nth:02}": tuple(
        f"a{image}.jpg" if nth < 11 else f"b{image}.jpg" for image in range(8 if nth < 11 else 4)
    )
    for nth in range(16)
}
COLUMNS = ["thumbnail", f"attributes.{GALLERY}"]


@pytest.fixture
def account() -> Iterator[PlytixSandbox]:
    products = [NewProduct(sku) for sku in LISTINGS]
    with plytix_sandbox(products=products, limits=NO_LIMITS, fetch=Web()) as sandbox:
        yield sandbox


def by_patch(caller: Caller) -> None:
    """One search, an upload per image, one patch per product that differs."""
    rows = caller.search("products", [[condition("sku", "in", list(LISTINGS))]], COLUMNS, page_size=100).json()["data"]
    known: dict[str, str] = {}
    for row in rows:
        shown = [one["filename"] for one in row["attributes"].get(GALLERY, [])]
        if shown == list(LISTINGS[row["sku"]]) and row["thumbnail"]["filename"] == shown[0]:
            continue
        for name in LISTINGS[row["sku"]]:
            known[name] = known.get(name) or caller.asset(name)
        ids = [known[name] for name in LISTINGS[row["sku"]]]
        gallery = [{"id": asset_id} for asset_id in ids]
        caller.patch(row["sku"], thumbnail={"id": ids[0]}, attributes={GALLERY: gallery})


def by_link(caller: Caller) -> None:
    """One search, an upload per image, a link per reference, a patch per thumbnail."""
    caller.search("products", [[condition("sku", "in", list(LISTINGS))]], COLUMNS, page_size=100)
    known: dict[str, str] = {}
    for sku, names in LISTINGS.items():
        for name in names:
            known[name] = known.get(name) or caller.asset(name)
            caller.link(sku, known[name])
        caller.patch(sku, thumbnail={"id": known[names[0]]})


def one_by_one(caller: Caller) -> None:
    """The workflow that is replaced: a search per product."""
    known: dict[str, str] = {}
    for sku, names in LISTINGS.items():
        caller.search("products", [[condition("sku", "eq", sku)]])
        for name in names:
            known[name] = known.get(name) or caller.asset(name)
            caller.link(sku, known[name])
        caller.patch(sku, thumbnail={"id": known[names[0]]})


@pytest.mark.parametrize(("way", "calls"), [(by_patch, 29), (by_link, 137), (one_by_one, 152)])
def test_a_first_run_costs_what_the_contract_counts(
    account: PlytixSandbox, way: Callable[[Caller], None], calls: int
) -> None:
    way(Caller(account))
    assert account.ledger.count() == calls
    assert account.token_ledger.count() == 1
    assert len(account.assets()) == 12
    assert {sku: account.filenames(sku) for sku in LISTINGS} == LISTINGS


def test_a_second_run_by_patch_costs_one_call(account: PlytixSandbox) -> None:
    by_patch(Caller(account))
    account.ledger.clear()
    by_patch(Caller(account))
    assert account.ledger.as_json() == {"product search": {"200": 1}}


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 101) | st.text(max_size=5) | st.sampled_from(["sku", "in", "eq", "id"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "url",
                        "content",
                        "filename",
                        "filters",
                        "attributes",
                        "pagination",
                        "page",
                        "page_size",
                        "order",
                    ),
                    *(
                        "field",
                        "operator",
                        "value",
                        "id",
                        "attribute_label",
                        "thumbnail",
                        GALLERY,
                        "swatch_image",
                        "sku",
                    ),
                    *("amazon_title", "status", "label", "gtin", "variant"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(door=st.sampled_from(DOORS), version=st.sampled_from([1, 2]), body=JUNK)
def test_no_body_whatever_breaks_an_endpoint(account: PlytixSandbox, door: Door, version: int, body: object) -> None:
    """Every refusal is an answer of Plytix, never a failure of the stand-in."""
    caller = Caller(account, version)
    account.clock.move(1)
    product = account.products()[0].id if account.products() else "0" * 24
    path = door.path.replace("{product}", product).replace("{asset}", "0" * 24)
    answer = caller.ask(door.method, path, body)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert isinstance(answer.json()["error"]["msg"], str)


def test_content_with_letters_that_base64_does_not_have_is_refused(account: PlytixSandbox) -> None:
    upload = next(door for door in DOORS if door.method == "POST" and door.path.endswith("assets"))
    answer = Caller(account, 1).ask("POST", upload.path, {"content": "\x80", "filename": "a.jpg"})
    assert answer.status_code == 422, answer.text
