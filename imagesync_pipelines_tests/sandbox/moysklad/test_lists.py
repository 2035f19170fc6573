"""Proves lists, assortment, filters, order, expand and fields."""

import pytest

from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox
from imagesync_pipelines_tests.sandbox.moysklad.callers import BETA, Caller, code_of, image

TYPES = "type=product;type=bundle;type=variant"


@pytest.fixture
def goods(caller: Caller) -> dict[str, str]:
    """Three products, a bundle and a variant, a minute between each; ids by external code."""
    account, ids = caller.account, {}
    for nth, name in enumerate(("Плед; большой", "Подушка", "подушка 2")):
        ids[f"p{nth}"] = account.add_product(name, f"p{nth}", code=f"C{nth}", article="A1", barcodes=(f"20{nth}",))
        caller.sandbox.clock.move(60)
    ids["v"] = account.add_variant(ids["p1"], "Подушка (мох)", "v", article="A1")
    ids["b"] = account.add_bundle("Комплект", "b")
    ids["old"] = account.add_product("Старое", "old", archived=True)
    return ids


def codes(caller: Caller, path: str, **params: object) -> list[str]:
    return [row["externalCode"] for row in caller.rows(path, **params)]


FILTERS: dict[str, tuple[str, list[str]]] = {
    "one value": ("externalCode=p1", ["p1"]),
    "repeated is or": ("externalCode=p1;externalCode=p0", ["p0", "p1"]),
    "different fields are and": ("externalCode=p1;code=C0", []),
    "repeated unequal is and": ("externalCode!=p1;externalCode!=p0", ["p2"]),
    "an escaped separator": (r"name=Плед\; большой", ["p0"]),
    "contains, any case": ("name~ОДУШ", ["p1", "p2"]),
    "prefix": ("name~=плед", ["p0"]),
    "suffix": ("name=~ 2", ["p2"]),
    "contains not": ("name!~подуш", ["p0"]),
    "article": ("article=A1", ["p0", "p1", "p2"]),
    "barcode": ("barcode=202", ["p2"]),
    "archived": ("archived=true", ["old"]),
    "either": ("archived=true;archived=false", ["p0", "p1", "p2", "old"]),
    "nothing fits": ("code=C9", []),
}


@pytest.mark.parametrize(("text", "expected"), FILTERS.values(), ids=FILTERS)
def test_filters(caller: Caller, goods: dict[str, str], text: str, expected: list[str]) -> None:
    assert codes(caller, "entity/product", filter=text) == expected


def test_a_filter_by_id_shows_archived_ones_too(caller: Caller, goods: dict[str, str]) -> None:
    assert codes(caller, "entity/product", filter=f"id={goods['old']};id={goods['p0']}") == ["p0", "old"]


def test_variants_are_found_by_their_product(caller: Caller, goods: dict[str, str]) -> None:
    rows = caller.rows("entity/variant", filter=f"productid={goods['p1']}")
    assert [row["product"]["meta"]["href"].rpartition("/")[2] for row in rows] == [goods["p1"]]


def test_updated_is_moscow_time_and_the_first_comparison_counts(caller: Caller, goods: dict[str, str]) -> None:
    second = caller.rows("entity/product", filter="externalCode=p1")[0]["updated"]
    assert codes(caller, "entity/product", filter=f"updated>={second}") == ["p1", "p2"]
    assert codes(caller, "entity/product", filter=f"updated>{second[:-4]}") == ["p2"]
    assert codes(caller, "entity/product", filter=f"updated>={second[:16]};updated<={second}") == ["p1"]
    assert codes(caller, "entity/product", filter=f"updated<{second}") == ["p0"]
    twice = f"updated>={second};updated>2030-01-01 00:00"
    assert codes(caller, "entity/product", filter=twice) == ["p1", "p2"]


BAD: dict[str, tuple[dict[str, str], int | None]] = {
    "a date in ISO form": ({"filter": "updated>=2026-10-05T09:00:00"}, 1035),
    "a condition without sign": ({"filter": "name"}, 1014),
    "an unknown field": ({"filter": "image=1"}, None),
    "equal and greater": ({"filter": "updated=2026-10-05 09:00;updated>2026-10-05 09:00"}, None),
    "an unknown order": ({"order": "size"}, None),
    "limit 0": ({"limit": "0"}, None),
    "limit 1001": ({"limit": "1001"}, None),
    "offset -1": ({"offset": "-1"}, None),
    "expand of something else": ({"expand": "owner.group"}, 1089),
    "two fields": ({"fields": "stock,downloadPermanentHref"}, 3042),
    "an unknown one of fields": ({"fields": "size"}, 3043),
}


@pytest.mark.parametrize(("params", "code"), BAD.values(), ids=BAD)
def test_parameters_are_judged(caller: Caller, params: dict[str, str], code: int | None) -> None:
    answer = caller.ask("GET", "entity/product", params=params)
    assert (answer.status_code, code_of(answer)) == (400, code)


def test_orders(caller: Caller, goods: dict[str, str]) -> None:
    assert codes(caller, "entity/product", order="updated,desc;id") == ["p2", "p1", "p0"]
    assert codes(caller, "entity/product", order="code") == ["p0", "p1", "p2"]
    assert caller.ask("GET", "entity/assortment", params={"order": "updated"}, headers=BETA).status_code == 400


def test_pages_have_their_neighbours_and_the_total(caller: Caller) -> None:
    for nth in range(5):
        caller.account.add_product(f"Товар {nth}", f"t{nth}")
    seen, url = [], "entity/product?limit=2"
    while url:
        body = caller.ask("GET", url).json()
        assert body["meta"]["size"] == 5
        assert ("previousHref" in body["meta"]) == (body["meta"]["offset"] > 0)
        seen += [row["externalCode"] for row in body["rows"]]
        url = body["meta"].get("nextHref", "")
    assert seen == [f"t{nth}" for nth in range(5)]
    assert caller.ask("GET", "entity/product").json()["meta"]["limit"] == 1000


def test_expand_is_silently_ignored_above_100_rows(caller: Caller, product: str) -> None:
    caller.sent(product, [image("a.jpg")])
    for params, has_rows in (({"limit": 100}, True), ({"limit": 101}, False), ({}, False)):
        shown = caller.rows("entity/product", expand="images", **params)[0]["images"]
        assert (shown["meta"]["size"], "rows" in shown) == (1, has_rows)


def test_the_assortment_has_all_kinds_in_one_stream(caller: Caller, goods: dict[str, str]) -> None:
    def ask(text: str, **headers: str) -> list[str]:
        answer = caller.ask("GET", "entity/assortment", params={"filter": text}, headers={**BETA, **headers})
        assert answer.status_code == 200, answer.text
        return [row["externalCode"] for row in answer.json()["rows"]]

    assert sorted(ask(TYPES)) == ["b", "p0", "p1", "p2", "v"]
    assert ask("type=variant") == ["v"]
    assert ask(f"id={goods['b']};id={goods['old']}") == ["b", "old"]
    assert caller.ask("GET", "entity/assortment", params={"filter": "article=A1"}, headers=BETA).status_code == 400
    assert len(codes(caller, "entity/assortment", filter="article=A1")) == 4


def test_permanent_links_are_in_rows_of_accounts_that_have_them(caller: Caller, product: str) -> None:
    caller.sent(product, [image("a.jpg")])

    def link(path: str, **params: object) -> str | None:
        rows = caller.rows(path, fields="downloadPermanentHref", **params)
        row = rows[0] if "size" in rows[0] else rows[0]["images"]["rows"][0]
        href: str | None = row["meta"].get("downloadPermanentHref")
        return href

    assert link(f"entity/product/{product}/images", limit=10) is None
    caller.account.account.permanent_links = True
    here = link(f"entity/product/{product}/images", limit=10)
    assert here is not None
    assert here.startswith(caller.sandbox.cdn_url)
    assert link("entity/assortment", expand="images", limit=100) == here
    caller.account.account.permanent_links = False
    caller.sandbox.switches.free_tariff = "refused"
    answer = caller.ask("GET", "entity/product", params={"fields": "downloadPermanentHref", "limit": 10})
    assert code_of(answer) == 1070


def test_accounts_see_only_their_own(box: MoyskladSandbox) -> None:
    for name in ("main", "child"):
        box.account(name).add_product(name, f"code-{name}")
    for name in ("main", "child"):
        assert codes(Caller(box, name), "entity/product") == [f"code-{name}"]
