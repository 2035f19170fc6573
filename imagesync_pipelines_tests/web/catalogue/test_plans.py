"""A plan's page: its rows by change, and the pictures before and after, as far as they are still known."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagesync_pipelines.connectors.image_db.record_store import Batches
from imagesync_pipelines.connectors.moysklad.model import ENTITY_JSON, Entity
from imagesync_pipelines.connectors.plytix.gallery import row_key
from imagesync_pipelines.connectors.plytix.model import ListingImage, PlytixProduct
from imagesync_pipelines.connectors.plytix.planning import Task, payload_of
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage.contents import Contents, kept_picture
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow, note_effects
from imagesync_pipelines.storage.errors import NoPlanOfThisRunError
from imagesync_pipelines.storage.facts import PictureFacts
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.plan_words import APPROVE, DISMISS, say, words_of
from imagesync_pipelines.storage.plans import Lineage, NewPlan, PlanHeader, Plans
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map
from imagesync_pipelines.sync.choosing import our_products
from imagesync_pipelines.sync.connector import picture_at
from imagesync_pipelines.sync.excluding import Channel, exclude, include
from imagesync_pipelines.sync.held import LIMIT, HeldRow, hold
from imagesync_pipelines.sync.plan_rows import expired_because, part_of
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.plans import plan_page
from imagesync_pipelines_tests.web.catalogue.media import picture
from imagesync_pipelines_tests.web.catalogue.world import Site, World


def save(
    world: World, rows: list[dict], *, connector: str = "image_db", payload: pd.DataFrame | None = None, **scope: object
) -> int:
    columns = ("key", "key_before", "group", "change", "reason", "product", "ruling", "fingerprint_after")
    frame = pd.DataFrame([{**dict.fromkeys(columns), **row} for row in rows], columns=list(columns)).astype("str")
    frame = frame.mask(frame == "None")
    counts = frame["change"].value_counts().to_dict()
    plans = Plans(world.engine, world.opened.storage)
    portions = None if payload is None else [payload]
    return plans.save(frame, portions, NewPlan(connector, "run", scope, counts, {"rows": len(rows), "calls": 0}, None))


def newest(world: World, limit: int, connector: str | None = None) -> list[PlanHeader]:
    return Plans(world.engine, world.opened.storage).newest(limit, connector)


@pytest.fixture
def change(world: World) -> tuple[int, int]:
    """A plan that changes one product's two pictures; its id and the product's."""
    engel = world.product("100", "Engel")
    world.image(engel, "1", thumbnail_url="https://media.example.com/1.png")
    rows = [
        {"key": f"{engel}/1", "key_before": f"{engel}/1", "change": "remove", "reason": "no longer at the source"},
        {"key": f"{engel}/2", "change": "add", "reason": "new"},
        {"key": f"{engel}/3", "key_before": f"{engel}/1", "change": "update", "reason": "another number"},
    ]
    return save(world, [{**row, "group": str(engel), "product": "100 Engel"} for row in rows]), engel


def test_the_picture_before_is_the_one_that_is_there(world: World, change: tuple[int, int]) -> None:
    header = newest(world, 10)[0]
    before = {
        kind: [line.shown.before for line in plan_page(world.opened, header, kind, 0, 10).lines]
        for kind in ("add", "update", "remove")
    }
    there = ["https://media.example.com/1.png"]
    assert before == {"add": [""], "update": there, "remove": there}


def test_the_page_shows_rows_of_one_change_and_links_their_product(
    site: Site, world: World, change: tuple[int, int]
) -> None:
    plan_id, engel = change
    text = site.get(f"/plans/{plan_id}?change=remove").text
    assert "no longer at the source" in text
    assert "another number" not in text
    assert f'href="/products/{engel}"' in text
    assert "/plan-pictures/" in text
    assert "not applied" in text
    assert f"Plan {plan_id}" in site.get("/plans").text


def test_an_applied_plan_shows_what_was_read_before_it_and_for_it(world: World) -> None:
    engel = world.product("100", "Engel")
    row = {
        "key": f"{engel}/1",
        "key_before": f"{engel}/1",
        "group": str(engel),
        "change": "update",
        "reason": "changed",
    }
    plans = Plans(world.engine, world.opened.storage)
    batches = Batches(HandOvers(world.opened.engine, world.opened.storage, "image_db"))
    for batch in ("first", "second", "gone"):
        file = batches.records(batch)
        file.parent.mkdir(parents=True)
        url = f"https://media.example.com/{batch}"
        table = pa.table({"external_id": ["1"], "thumbnail_url": [None], "image_url": [url]})
        pq.write_table(table, str(file))
        plans.mark_applied(save(world, [row], batch=batch), "run")
    batches.records("gone").unlink()
    shown = [plan_page(world.opened, header, "update", 0, 10).lines[0] for header in newest(world, 3)]
    first, second = "https://media.example.com/first", "https://media.example.com/second"
    assert [line.shown[1:3] for line in shown] == [(second, ""), (first, second), ("", first)]


def test_a_record_that_was_set_aside_is_shown_without_product_and_picture(world: World) -> None:
    rows = [{"key": key, "change": "reject", "reason": "page 1: bad"} for key in ("page 1, reject 1", "?/12")]
    save(world, rows)
    for _ in ("planned", "applied"):
        header = newest(world, 1)[0]
        shown = [line.shown for line in plan_page(world.opened, header, "reject", 0, 10).lines]
        assert shown == [("page 1, reject 1", "", "", ""), ("12", "", "", "")]
        Plans(world.engine, world.opened.storage).mark_applied(header.id, "run")


def test_a_gallery_of_plytix_shows_the_picture_that_it_gets(world: World) -> None:
    engel = world.product("100", "Engel")
    images = tuple(
        ListingImage("MAIN", f"https://m.media-amazon.com/{key}", key, None, None, 1)
        for key in ("new.jpg", "71CgKd3eVEL.jpg")
    )
    tasks = {sku: Task(PlytixProduct("p", sku, None, ()), images) for sku in ("100", "999")}
    keys = {sku: [row_key(sku, image.key) for image in images] for sku in tasks}
    rows = [
        {"key": keys["100"][0], "group": "100", "change": "add"},
        {"key": keys["999"][0], "group": "999", "change": "add"},
        {"key": keys["100"][1], "group": "100", "change": "remove"},
    ]
    save(world, rows, connector="plytix", payload=payload_of(pd.DataFrame(rows), tasks), account="main")
    header = newest(world, 10, "plytix")[0]
    added = [
        (line.product_id, line.shown.image, line.shown.after)
        for line in plan_page(world.opened, header, "add", 0, 10).lines
    ]
    url = "https://m.media-amazon.com/new.jpg"
    assert added == [(engel, "new.jpg", url), (None, "new.jpg", url)]
    gone = plan_page(world.opened, header, "remove", 0, 10).lines[0].shown
    assert (gone.before, gone.after) == ("https://m.media-amazon.com/images/I/71CgKd3eVEL.jpg", "")


@pytest.mark.parametrize("connector", ["edge", "taken out since"])
def test_a_connector_whose_groups_are_no_products_of_ours_is_shown_too(
    site: Site, world: World, connector: str
) -> None:
    rows = [{"key": "photo-1", "group": "b2b0c2f2", "change": "add", "reason": "new"}]
    plan_id = save(world, rows, connector=connector, store="jakarta", warnings=["one photo is late"], held_back=3)
    text = site.get(f"/plans/{plan_id}?change=add").text
    for told in ("photo-1", "b2b0c2f2", "jakarta", "one photo is late", "3 removals were held back"):
        assert told in text


def test_what_a_plan_that_was_applied_replaced_is_shown_from_the_history(site: Site, world: World) -> None:
    row = {"key": "photo-1", "key_before": "photo-1", "group": "b2b0c2f2", "change": "update", "reason": "replaced"}
    plan_id = save(
        world, [row, {**row, "key": "photo-2", "key_before": "photo-2"}], connector="edge", account="jakarta"
    )
    Plans(world.engine, world.opened.storage).mark_applied(plan_id, "run")
    by = Author("run", plan_id=plan_id)
    told = EffectRow("photo-1", "update", "replaced", "photo-1", before={"sha256": "ab", "checksum": "c"}, after={})
    lost = EffectRow("photo-2", "update", "replaced", "photo-2", before={"sha256": "ac"}, after={}, lost="no room")
    with world.engine.begin() as connection:
        note_effects(
            connection, [Effect("edge", account, "b2b0c2f2", (told, lost), by) for account in ("jakarta", "x")]
        )
    page = plan_page(world.opened, newest(world, 1, "edge")[0], "update", 0, 10)
    assert [line.shown.before for line in page.lines] == [picture_at("edge", "jakarta", "sha256=ab", "kept"), ""]
    assert site.get(f"/plans/{plan_id}").text.count("no picture kept") == 1


def test_what_is_held_back_is_shown_with_the_plan_and_in_the_history(site: Site, world: World) -> None:
    row = {"key": "photo-1", "group": "g", "change": "keep", "reason": "held back: 9 removals are more than 3"}
    plan_id = save(
        world, [{**row, "ruling": "limit"}, {**row, "key": "photo-2", "ruling": ""}], connector="edge", held_back=1
    )
    text = site.get(f"/plans/{plan_id}").text
    assert "9 removals are more than 3" in text
    assert "photo-1" in text
    assert "photo-2" not in text
    rows = [HeldRow("photo-1", "g", "f", LIMIT, "held back: 9 removals are more than 3")]
    hold(world.engine, "edge", "jakarta", "", rows, plan_id=plan_id)
    assert f"<code>imagesync apply {plan_id}</code> carries them out" in site.get("/history").text
    assert "held back since" not in site.get("/history?connector=plytix").text


def test_every_connector_names_its_products_and_pages_and_terminal_say_the_same(world: World) -> None:
    """МойСклад by code and name of the entity, the edge by those of the head office, the others by our product."""
    engel = world.product("100", "Engel")
    entity = Entity("bundle", "c7e7", "Набор", "x", "N-7", "", (), False, "", None, 0, ())
    payloads = {
        ("moysklad", "main", entity.key): ENTITY_JSON.dump_json(entity).decode(),
        ("edge", "jakarta", "photo-1"): json.dumps({"product_sku": "100", "product_name": "Malaikat"}),
    }
    with world.engine.begin() as connection:
        for (connector, account, key), payload in payloads.items():
            values = {"connector": connector, "account": account, "key": key, "fingerprint": "f"}
            values["group_key"] = "b2b0c2f2" if connector == "edge" else key
            connection.execute(mirror.insert().values(**values, payload=json.loads(payload)))
        card = {"child": "child-1", "entity_key": entity.key, "child_id": "d", "field": "code", "value": "100"}
        connection.execute(moysklad_entity_map.insert().values(**card))
    wanted = {
        ("image_db", ""): (str(engel), "100 Engel", engel),
        ("folder", ""): (str(engel), "100 Engel", engel),
        ("plytix", "main"): ("100", "100 Engel", engel),
        ("moysklad", "child-1"): (entity.key, "N-7 Набор", engel),
        ("edge", "jakarta"): ("b2b0c2f2", "100 Malaikat", engel),
    }
    for (connector, account), (group, name, product_id) in wanted.items():
        row = {"key": f"{group}/1", "group": group, "change": "reject", "reason": "no"}
        save(world, [row], connector=connector, account=account)
        header = newest(world, 1, connector)[0]
        line = plan_page(world.opened, header, "reject", 0, 10).lines[0]
        assert (line.product, line.product_id) == (name, product_id), connector
        found = plan_page(world.opened, header, "reject", 0, 10, name.split()[1].upper())
        assert (found.total, plan_page(world.opened, header, "reject", 0, 10, "no such").total) == (1, 0), connector


def test_a_newer_plan_that_judges_all_of_it_otherwise_expires_a_plan(site: Site, world: World) -> None:
    engel, fuchs = world.product("100", "Engel"), world.product("200", "Fuchs")
    rows = [
        {"key": f"{one}/1", "group": str(one), "change": "add", "reason": "new", "fingerprint_after": "a"}
        for one in (engel, fuchs)
    ]
    old = save(world, rows, account="a")
    assert "expired" not in site.get(f"/plans/{old}").text
    save(world, [{**rows[0], "change": "keep"}, rows[1]], account="other")
    assert "expired" not in site.get(f"/plans/{old}").text
    newer = save(world, [{**rows[0], "change": "keep"}, rows[1]], account="a")
    text = site.get(f"/plans/{old}").text
    assert f"{engel}/1: plan {newer} says keep" in text
    assert "1 of its 2 groups that change are refused now" in text
    assert "expired" not in site.get("/plans").text
    last = save(world, [{**rows[1], "fingerprint_after": "b"}], account="a")
    assert "It expired" in site.get(f"/plans/{old}").text
    listed = site.get("/plans").text
    marked = re.findall(r">Plan (\d+)<(?:(?!</tr>).)*>expired</span> <span[^>]*>([^<]*)<", listed, re.DOTALL)
    why = f"all of it is refused now, such as {fuchs}/1: plan {last} says add; plan again"
    assert [number for number, _ in marked] == [str(newer), str(old)]
    assert marked[0][1] == why
    assert site.get("/plans").text == listed, "what was found out is remembered, and is the same"
    Plans(world.engine, world.opened.storage).mark_applied(old, "run")
    assert "expired" not in site.get(f"/plans/{old}").text
    assert site.get("/plans").text.count(">expired</span>") == 1, "the other one"
    undo = save(world, rows, account="a", undoes_run="run", only_named="the undo of run run")
    save(world, [{**one, "change": "keep"} for one in rows], account="a")
    assert "expired" not in site.get(f"/plans/{undo}").text


def test_what_was_excluded_since_is_told_on_the_page_of_a_plan(site: Site, world: World) -> None:
    groups = [str(world.product(sku, sku)) for sku in ("100", "200")]
    rows = [{"key": f"{group}/1", "group": group, "change": "add", "reason": "new"} for group in groups]
    payload = pd.DataFrame(columns=["key", "thumbnail_url", "image_url", "width", "height"])
    plan, undo = (
        save(world, rows),
        save(world, rows, payload=payload, undoes_run="run", only_named="the undo of run run"),
    )
    exclude(world.engine, Channel("image_db", "", our_products), ["100"], "anna")
    told = ("100 is excluded by anna since", "1 of its 2 groups that change are refused now")
    assert [one for one in told if one not in site.get(f"/plans/{plan}").text] == []
    exclude(world.engine, Channel("image_db", "", our_products), ["200"], "anna")
    assert "It expired: all of it is refused now" in site.get(f"/plans/{plan}").text
    listed = site.get("/plans").text
    assert (listed.count(">expired</span>"), "is excluded by anna since" in listed) == (1, True)
    plans = Plans(world.engine, world.opened.storage)
    said = [expired_because(plans, plans.header(one), connector_named("image_db")) for one in (plan, undo)]
    assert ("is excluded by anna since" in said[0], said[1]) == (True, "")
    text = site.get(f"/plans/{undo}").text
    assert ("for the undo of run run" in text, "excluded" in text) == (True, False)
    taking_away = save(world, rows, payload=payload, takes_away=True, only_named="taking away")
    text = site.get(f"/plans/{taking_away}").text
    assert ("for taking away" in text, "refused now" in text) == (True, False)
    include(world.engine, Channel("image_db", "", our_products), ["100"], "anna")
    assert "it is excluded no more, so nothing of it is taken away" in site.get(f"/plans/{taking_away}").text


def test_neither_a_plan_of_some_pages_nor_what_is_held_back_expires_a_plan(world: World) -> None:
    rows = [{"key": f"1/{n}", "group": "1", "change": "add", "fingerprint_after": "a"} for n in (1, 2)]
    old = Plans(world.engine, world.opened.storage).header(save(world, rows))
    save(world, rows[:1], kind="pages")
    page = plan_page(world.opened, old, "add", 0, 10)
    assert (page.stale, page.is_expired) == (0, False), "of the pictures of a group it knows those of its pages"
    held = {"key": "2/1", "key_before": "2/1", "group": "2", "change": "keep", "ruling": "limit"}
    old = Plans(world.engine, world.opened.storage).header(save(world, [*rows, held]))
    save(world, rows[:1], kind="all")
    page = plan_page(world.opened, old, "add", 0, 10)
    assert (page.stale, page.of_groups, page.is_expired) == (1, 2, False), "what is held back is carried out with it"


def test_newer_plans_are_read_once_and_the_columns_that_are_compared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"key": "1/1", "group": "1", "change": "add", "fingerprint_after": "a"}]
    old = Plans(world.engine, world.opened.storage).header(save(world, rows))
    newer = [save(world, rows) for _ in range(2)]
    read, load = list[tuple[int, bool]](), Plans.load

    def counted(self: Plans, plan_id: int, keys: None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        read.append((plan_id, columns is None))
        return load(self, plan_id, keys, columns)

    monkeypatch.setattr(Plans, "load", counted)
    for _ in range(3):
        plan_page(world.opened, old, "add", 0, 10)
    whole = [(old.id, True)]
    assert read == [*whole, *((one, False) for one in reversed(newer)), *whole, *whole]
    newest = save(world, [{**rows[0], "change": "keep"}])
    assert plan_page(world.opened, old, "add", 0, 10).is_expired, "a newer one is looked at"
    assert read[5:] == [*whole, (newest, False)]


def test_what_was_dismissed_is_applied_by_nobody_until_it_is_approved(world: World) -> None:
    rows = [{"key": "photo-1", "group": "g", "change": "add", "reason": "new"}]
    plan_id = save(world, rows, connector="edge")
    plans = Plans(world.engine, world.opened.storage)
    say(world.engine, plan_id, DISMISS, "anna", "too many")
    # By its number, by the run that made it, and by one that re-executes that.
    for lineage, named in ((Lineage("run"), plan_id), (Lineage("run"), None), (Lineage("again", ("run",)), None)):
        with pytest.raises(NoPlanOfThisRunError, match=r"dismissed by anna \(too many\)"):
            plans.to_apply("edge", lineage, named)
    say(world.engine, plan_id, APPROVE, "ben")
    assert [plans.to_apply("edge", Lineage("run"), named).id for named in (plan_id, None)] == [plan_id, plan_id]
    assert [(one.word, one.said_by, one.comment) for one in words_of(world.engine, plan_id)] == [
        ("dismiss", "anna", "too many"), ("approve", "ben", "")
    ]  # fmt: skip
    plans.prune("edge", 0)
    assert words_of(world.engine, plan_id) == []


def test_a_part_of_a_plan_is_a_plan_of_its_groups(world: World) -> None:
    rows = [{"key": f"{group}#1", "group": group, "change": "add", "reason": "new"} for group in ("a", "b", "c")]
    payload = pd.DataFrame({"group": ["a", "b", "c"], "task": ["1", "2", "3"]}).astype("str")
    plans = Plans(world.engine, world.opened.storage)
    whole = plans.header(save(world, rows, connector="moysklad", payload=payload, account="child-1", limit=7))
    part = plans.header(part_of(plans, whole, {"a", "c"}))
    assert plans.load(part.id)["group"].tolist() == ["a", "c"]
    assert plans.need_payload(part.id)["task"].tolist() == ["1", "3"]
    assert (part.counts, part.scope["limit"], part.scope["account"]) == ({"add": 2}, 7, "child-1")
    assert (part.scope["only_named"], part.scope["part_of"]) == (f"a part of plan {whole.id}", whole.id)
    clean_up = plans.header(save(world, rows, connector="plytix", account="main", only_named="a clean-up"))
    assert plans.header(part_of(plans, clean_up, {"a"})).scope["only_named"] == "a clean-up", "its rules stay"
    assert plans.to_apply("moysklad", Lineage("other", ("run",)), None).id == whole.id, "a part is only named"


def test_a_picture_that_is_kept_is_shown_without_asking_anybody(site: Site, world: World) -> None:
    facts = PictureFacts("JPEG", 8, 8, "")
    body = picture()
    kept = Contents(world.engine, world.opened.storage).put(
        "moysklad:main:x", body, replace(facts, sha256=hashlib.sha256(body).hexdigest()), timedelta(days=1)
    )
    answer = site.get(f"/plan-pictures/{picture_token(world.opened, kept_picture(kept))}")
    assert answer.headers["Content-Type"] == "image/jpeg"
    earlier = kept_picture(replace(kept, sha256="ab" * 32))
    answer = site.get(f"/plan-pictures/{picture_token(world.opened, earlier)}")
    assert answer.headers["Content-Type"] == "image/svg+xml", "what is kept under its name now is another picture"


def test_many_rows_are_paged(site: Site, world: World) -> None:
    rows = [{"key": f"photo-{n:03}", "group": f"g{n}", "change": "add", "reason": "new"} for n in range(120)]
    plan_id = save(world, rows, connector="edge")
    assert "photo-049" in site.get(f"/plans/{plan_id}").text
    assert "photo-050" not in site.get(f"/plans/{plan_id}").text
    last = site.get(f"/plans/{plan_id}?change=add&start=100").text
    assert "photo-119" in last
    assert "101 to 120 of 120" in last


def test_a_plan_whose_files_are_gone_says_so(site: Site, world: World, change: tuple[int, int]) -> None:
    for file in (world.opened.storage / "plans" / "image_db" / str(change[0])).iterdir():
        file.unlink()
    answer = site.get(f"/plans/{change[0]}")
    assert answer.status_code == 404
    assert "plan again" in answer.text


def test_only_an_address_that_we_wrote_is_fetched(site: Site, world: World) -> None:
    token = picture_token(world.opened, "http://169.254.169.254/latest/meta-data")
    refused = site.get(f"/plan-pictures/{token}")
    assert (refused.status_code, refused.headers["Content-Type"]) == (200, "image/svg+xml")
    assert site.get(f"/plan-pictures/{token[:-2]}xx").status_code == 404


def test_what_an_upstream_wrote_into_a_plan_is_never_markup(site: Site, world: World) -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"
    engel = world.product("100", evil)
    world.image(engel, "1", thumbnail_url="javascript:" + evil)
    row = {"group": str(engel), "product": evil, "reason": evil}
    rows = [{**row, "key": f"{engel}/{evil}", "change": "add"}, {**row, "key": f"{engel}/1", "change": "remove"}]
    told = {"warnings": [evil], "store": evil}
    plans = [save(world, rows, **told), save(world, [{**one, "group": evil} for one in rows], connector="edge", **told)]
    for path in ("/plans", *(f"/plans/{plan}?change={change}" for plan in plans for change in ("add", "remove"))):
        answer = site.get(path)
        assert answer.status_code == 200, path
        for markup in ("<script>alert", "<img src=x", '="javascript:', "&quot;&gt;<", ">49"):
            assert markup not in answer.text, (path, markup)
        assert path == "/plans" or answer.text.count("&lt;script&gt;alert(1)") >= 3, path


@pytest.mark.parametrize("url", ["http://x.example/\0", "http://[", ""], ids=ascii)
def test_a_planned_picture_without_a_usable_address_is_a_grey_one(site: Site, world: World, url: str) -> None:
    answer = site.get(f"/plan-pictures/{picture_token(world.opened, url)}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
