"""The fleet: what each target acknowledged, in what it differs, whose account it is, and the plan of its repair."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.acknowledged import every, note_left, note_whole
from imagesync_pipelines.storage.identities import note_refused, record_identity
from imagesync_pipelines.storage.plan_words import APPROVE, DISMISS, say
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.storage.schema import cursor, mirror, plan, quarantine
from imagesync_pipelines.sync import held
from imagesync_pipelines_tests.web.catalogue.admin.browsing import RUN_ID, Browser, FakeDagster, at_dagster, person
from imagesync_pipelines_tests.web.catalogue.test_plans import save
from imagesync_pipelines_tests.web.catalogue.world import NOW, World, serving

STATE = "0123456789abcdef" * 4
ADDED = [{"key": "p/1", "change": "add", "group": "p"}]
KEPT = [{"key": "p/1", "key_before": "p/1", "change": "keep", "group": "p"}]


def carried_out(world: World, account: str, connector: str = "edge") -> int:
    """A plan that was carried out whole at NOW, and made then."""
    plan_id = save(world, ADDED, connector=connector, account=account)
    plans = Plans(world.engine, world.opened.storage)
    plans.mark_applied(plan_id, "run")
    note_whole(world.engine, plans.header(plan_id), "run", STATE, 1234)
    with world.engine.begin() as connection:
        connection.execute(plan.update().where(plan.c.id == plan_id).values(created_at=NOW, applied_at=NOW))
    return plan_id


def panels(text: str) -> dict[str, str]:
    """The part of the page about each target, without markup."""
    parts = re.split(r'<li class="panel">', text)[1:]
    words = [" ".join(re.sub(r"<[^>]*>", " ", part.partition("</form>")[0]).split()) for part in parts]
    return {re.split(r" (?:in step|differs)", one)[0]: one for one in words}


def test_a_target_in_step_shows_the_state_that_it_acknowledged(world: World, viewer: Browser) -> None:
    plan_id = carried_out(world, "store1")
    text = viewer.get("/admin/fleet").text
    panel = panels(text)["Edge stores store1"]
    assert f"in step Acknowledged plan {plan_id}, {STATE[:12]} : 1,234 images," in panel
    assert f'title="{STATE}"' in text
    assert "What differs" not in text
    assert "Plan the repair" not in text, "a viewer starts nothing"


def test_a_plan_that_another_one_overtook_acknowledges_no_state(world: World) -> None:
    older, newer = (save(world, ADDED, connector="edge", account="store1") for _ in range(2))
    plans = Plans(world.engine, world.opened.storage)

    def state_after(plan_id: int) -> str | None:
        note_whole(world.engine, plans.header(plan_id), "run", f"of {plan_id}", 1)
        return known["edge", "store1"].state if (known := every(world.engine)) else None

    plans.mark_begun(newer, "run")
    assert state_after(older) is None
    plans.mark_applied(newer, "run")
    assert state_after(newer) == f"of {newer}"
    assert state_after(older) == f"of {newer}"


def test_what_differs_is_said_for_each_target_and_comes_first(world: World, viewer: Browser) -> None:
    for account in ("a", "b", "store1"):
        carried_out(world, account)
    opened = save(world, ADDED * 2, connector="edge", account="store1")
    note_left(world.engine, "edge", "store1", plan_id=opened, rows=7)
    held.hold(world.engine, "edge", "store1", held.GUARD, [held.HeldRow("9", "9", "f", held.LIMIT, "too many")])
    row = {"connector": "edge", "account": "store1", "group_key": "g", "fingerprint": "f", "payload": {}}
    with world.engine.begin() as connection:
        aside = {"connector": "edge/store1", "stage": "apply", "reason": "no"}
        connection.execute(quarantine.insert(), [{**aside, "key": key} for key in "xyz"])
        moments = (NOW - timedelta(hours=1), NOW + timedelta(hours=1), NOW + timedelta(hours=2))
        connection.execute(mirror.insert(), [{**row, "key": str(n), "changed_at": at} for n, at in enumerate(moments)])
        record_identity(connection, "edge", "store1", "row", "id-1", None)
        note_refused(connection, "edge", "store1", "row", "b<2")
    text = viewer.get("/admin/fleet").text
    shown = panels(text)
    assert next(iter(shown)) == "Edge stores store1"
    for said in (
        f"2 changes of plan {opened} are not carried out", f"7 rows of plan {opened} could not be carried out",
        "1 held back", "3 in quarantine", "2 changed at the source since", "row id-1",
        "imagesync identity accept edge store1 b&lt;2",
    ):  # fmt: skip
        assert said in shown["Edge stores store1"], said
    assert "1 of 3 differs" in " ".join(text.split())
    assert f'href="/plans/{opened}"' in text


def test_a_plan_that_changes_nothing_differs_in_nothing(world: World, viewer: Browser) -> None:
    carried_out(world, "store1")
    save(world, KEPT, connector="edge", account="store1")
    assert "in step" in panels(viewer.get("/admin/fleet").text)["Edge stores store1"]


def test_what_was_dismissed_or_takes_a_run_back_is_not_missed_and_counts_when_carried_out(
    world: World, viewer: Browser
) -> None:
    carried_out(world, "store1")
    dismissed = save(world, ADDED, connector="edge", account="store1")
    say(world.engine, dismissed, DISMISS, "anna", "")
    assert viewer.get("/plans").text.count(">dismissed<") == 1
    undo = save(world, ADDED, connector="edge", account="store1", undoes_run="run")
    save(world, ADDED, connector="edge", account="store1", takes_away=True)
    panel = panels(viewer.get("/admin/fleet").text)["Edge stores store1"]
    assert "in step" in panel
    assert "last carried out" not in panel
    Plans(world.engine, world.opened.storage).mark_applied(undo, "another")
    assert f"last carried out: plan {undo}" in panels(viewer.get("/admin/fleet").text)["Edge stores store1"]
    say(world.engine, dismissed, APPROVE, "anna", "")
    assert ">dismissed<" not in viewer.get("/plans").text
    newest = save(world, ADDED, connector="edge", account="store1")
    assert (
        f"1 change of plan {newest} is not carried out" in panels(viewer.get("/admin/fleet").text)["Edge stores store1"]
    )


@pytest.mark.parametrize(("read_before", "late"), [(None, True), (5.0, True), (0.5, False)])
def test_a_target_is_late_when_neither_news_nor_a_plan_came_for_long(
    world: World, viewer: Browser, read_before: float | None, late: bool
) -> None:
    plan_id = carried_out(world, "store1")
    with world.engine.begin() as connection:
        long_ago = NOW - timedelta(days=1)
        connection.execute(plan.update().where(plan.c.id == plan_id).values(applied_at=long_ago))
        if read_before is not None:
            moved_at = NOW - timedelta(hours=read_before)
            connection.execute(cursor.insert().values(connector="edge", account="store1", value="x", moved_at=moved_at))
    assert ("late" in panels(viewer.get("/admin/fleet").text)["Edge stores store1"].split("Acknowledged")[0]) == late


@pytest.mark.parametrize("some", ["of_some", "takes_away"])
def test_news_of_a_main_account_are_news_of_its_children_also_after_a_plan_of_some_products(
    world: World, viewer: Browser, some: str
) -> None:
    carried_out(world, "north", "moysklad")
    later = save(world, ADDED, connector="moysklad", account="north", **{some: True})
    Plans(world.engine, world.opened.storage).mark_applied(later, "another")
    with world.engine.begin() as connection:
        connection.execute(plan.update().where(plan.c.id == later).values(created_at=NOW + timedelta(hours=2)))
    row = {"account": "main", "key": "product:1", "group_key": "g", "fingerprint": "f", "payload": {}}
    with world.engine.begin() as connection:
        connection.execute(mirror.insert().values(connector="moysklad", changed_at=NOW + timedelta(hours=1), **row))
    assert "1 changed at the source since" in panels(viewer.get("/admin/fleet").text)["МойСклад north"]


def test_declared_accounts_are_shown_before_their_first_run_and_sources_apart(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("T", "a token")
    accounts = tmp_path / "accounts.toml"
    accounts.write_text('[moysklad.main]\ntoken = "env:T"\n[moysklad.children.north]\ntoken = "env:T"\n')
    person(world)
    with serving(replace(world.opened, shared=Settings(accounts=accounts))) as site:
        browser = Browser(site)
        browser.log_in("anna")
        text = browser.get("/admin/fleet").text
        accounts.write_text("[moysklad")
        broken = browser.get("/admin/fleet")
    assert "never synchronised" in panels(text)["МойСклад north"]
    assert "МойСклад main" not in panels(text)
    assert "МойСклад main" in text.split("Other accounts")[1]
    assert (broken.status_code, "is no TOML" in broken.text) == (200, True)


def test_a_repair_is_planned_from_all_that_source_and_target_have(
    world: World, admin: Browser, dagster: FakeDagster
) -> None:
    csrf = admin.csrf()
    answer = admin.post("/admin/fleet/plan", {"csrf": csrf, "connector": "edge", "account": "store1"})
    assert answer.url.endswith(f"/admin/runs/{RUN_ID}")
    [run] = dagster.launched
    assert run["selector"]["jobName"] == "edge__dry_run"
    assert run["runConfigData"]["ops"]["edge__photo_listing"]["config"]["full"] is True
    for connector, status in (("nothing", 404), ("edge", 409)):
        wrong = {"csrf": csrf, "connector": connector, "account": "closed"}
        assert admin.post("/admin/fleet/plan", wrong).status_code == status
    assert len(dagster.launched) == 1


def test_an_account_whose_secret_is_not_set_takes_no_repair_from_the_others(
    world: World, dagster: FakeDagster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    accounts = tmp_path / "accounts.toml"
    keys = 'api_key = "env:{0}"\napi_password = "env:{0}"\n'
    of_unset = f"[plytix.accounts.unset]\n{keys.format('NOT_SET')}"
    accounts.write_text(f"[plytix.accounts.main]\n{keys.format('T')}{of_unset}")
    monkeypatch.setenv("T", "a secret")
    person(world)
    with serving(replace(at_dagster(world, dagster.address).opened, shared=Settings(accounts=accounts))) as site:
        admin = Browser(site)
        admin.log_in("anna")
        text = admin.get("/admin/fleet").text
        assert "[plytix.accounts.unset] api_key: the variable NOT_SET is not set" in text
        assert [text.count(f'name="account" value="{name}"') for name in ("main", "unset")] == [1, 1]
        fields = {"csrf": admin.csrf(), "connector": "plytix", "account": "main"}
        assert admin.post("/admin/fleet/plan", fields).url.endswith(f"/admin/runs/{RUN_ID}")
