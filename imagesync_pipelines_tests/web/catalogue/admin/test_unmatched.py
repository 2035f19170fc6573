"""What accounts have no counterpart for, on the page of unmatched articles: picture and reason; tried again alone."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imagesync_pipelines.connectors.moysklad.mapping import ENTITY_MAP
from imagesync_pipelines.connectors.moysklad.model import ENTITY_JSON, ChildMap, ImageRow, WithoutCounterpart
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, Listing, ListingImage, ListingsRead, ProductsRead
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.schema import mirror, unmatched_article
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines_tests.connectors.moysklad.rows import entity
from imagesync_pipelines_tests.web.catalogue.admin.browsing import RUN_ID, Browser, FakeDagster, at_dagster, person
from imagesync_pipelines_tests.web.catalogue.world import NOW, World, serving

ACCOUNTS = """
[moysklad.main]
token = "env:T"
[moysklad.children.north]
token = "env:T"
[plytix.accounts.main]
api_key = "env:T"
api_password = "env:T"
"""


@pytest.fixture
def desk(world: World, dagster: FakeDagster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Browser]:
    """An admin of an installation with an account of each."""
    monkeypatch.setenv("T", "a secret")
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(ACCOUNTS)
    person(world)
    dagster.launched.clear()
    with serving(replace(at_dagster(world, dagster.address).opened, shared=Settings(accounts=accounts))) as site:
        browser = Browser(site)
        browser.log_in("anna")
        yield browser


def listed(sku: str) -> Listing:
    image = ListingImage("MAIN", f"https://192.0.2.1/{sku}.jpg", sku, None, None, 1)
    return Listing(sku, f"B0{sku}", "DE", False, (image,), 1)


def plytix_read(
    place: Installation | Opened,
    run: str,
    skus: Iterable[str],
    unknown: Iterable[str],
    stopped: str = "",
    *,
    whole: bool = True,
) -> None:
    """What a run left that read a mapping file; not whole: only the products of it that a person chose."""
    left = HandOvers(place.engine, place.storage, "plytix", "main")
    files = ("mapping.json",) if whole else ()
    left.keep(run, "listings", ListingsRead(source="mapping.json", files=files, shape="list", entries=1, items=()))
    left.keep(run, "images", ImagesChosen(source="mapping.json", listings=tuple(map(listed, skus))))
    left.keep(run, "products", ProductsRead(run_id=run, read_at=NOW, unknown=tuple(unknown), stopped=stopped))


def moysklad_mapped(world: World, run: str, *keys: str) -> None:
    unmapped = tuple(WithoutCounterpart(f"product:{key}", key, f"the child account has no {key}") for key in keys)
    left = HandOvers(world.engine, world.opened.storage, "moysklad", "north")
    left.keep(run, ENTITY_MAP, ChildMap(run_id=run, unmapped=unmapped, calls=1, warnings=()))


def test_listings_without_a_product_are_those_of_the_newest_run_over_whole_files(
    world: World, desk: Browser, dagster: FakeDagster
) -> None:
    plytix_read(world.opened, "1", "ABC", "AC")
    plytix_read(world.opened, "2", "ABC", "AB")
    plytix_read(world.opened, "3", "C", "C", whole=False)
    plytix_read(world.opened, "4", "ABC", "", stopped="the hour is spent")
    opened = world.opened
    known = connector_named("plytix").skus_known(opened.engine, opened.storage, "main", ["A", "C", "Z"])
    assert known == {"A", "C"}, "a run about it would find no listing of Z"
    text = desk.get("/admin/unmatched").text
    assert [f'class="name">{sku} B0{sku} DE<' in text for sku in "ABC"] == [True, True, False]
    assert text.count("Plytix has no product with this SKU; add it there") == text.count("/plan-pictures/") == 2
    assert 'class="name">A ' not in desk.get("/admin/unmatched?number=B").text
    desk.send_form("/admin/unmatched?number=A", "/admin/unmatched/again")
    [run] = dagster.launched
    assert "'skus': ['A']" in str(run["runConfigData"]), run
    fields = {"csrf": desk.csrf(), "connector": "plytix", "account": "main", "key": "C"}
    assert desk.post("/admin/unmatched/again", fields).status_code == 409
    assert desk.post("/admin/unmatched/again", {**fields, "connector": "nothing"}).status_code == 404


def test_entities_without_a_counterpart_are_those_that_were_not_found_since(
    world: World, desk: Browser, dagster: FakeDagster
) -> None:
    image = ImageRow("i1", "1.jpg", 9, "https://api.moysklad.ru/1", "https://miniature-prod.moysklad.ru/1.jpg")
    with world.engine.begin() as connection:
        for one in (entity(key, code=key, name=f"Engel {key}", images=(image,)) for key in "abcd"):
            row = {"connector": "moysklad", "account": "main", "key": one.key, "group_key": one.key}
            payload = ENTITY_JSON.dump_python(one, mode="json")
            connection.execute(mirror.insert().values(**row, fingerprint="f", payload=payload))
        for key in "bd":
            found = {"child": "north", "entity_key": f"product:{key}", "child_id": key, "field": "code", "value": key}
            connection.execute(moysklad_entity_map.insert().values(found))
    moysklad_mapped(world, "1", "a", "b", "gone")
    moysklad_mapped(world, "2", "c", "d")
    text = desk.get("/admin/unmatched").text
    assert [f'class="name">{key} Engel {key}<' in text for key in "abcd"] == [True, False, True, True]
    assert "1 picture: the child account has no a" in text
    assert text.count("/plan-pictures/") == 3
    assert desk.send_form("/admin/unmatched?number=a", "/admin/unmatched/again").url.endswith(f"/admin/runs/{RUN_ID}")
    assert "'entity': 'a'" in str(dagster.launched[0]["runConfigData"])


def test_a_picture_that_names_no_product_is_tried_again_alone_and_a_folder_whole(
    world: World, desk: Browser, dagster: FakeDagster
) -> None:
    article = {"number": "101", "external_id": "9", "reason": "none", "candidates": []}
    with world.engine.begin() as connection:
        for source in ("image_db", "folder"):
            connection.execute(unmatched_article.insert().values(**article, source=source))
    text = desk.get("/admin/unmatched").text
    assert text.count("Try this again: picture 9") == text.count("Read the folder again: picture 9") == 1
    for source in ("image_db", "folder"):
        desk.post("/admin/unmatched/again", {"csrf": desk.csrf(), "connector": source, "key": "9"})
    alone, whole = dagster.launched
    assert "'external_ids': ['9']" in str(alone["runConfigData"])
    assert whole["selector"]["jobName"] == "folder__sync"
