"""Starting runs: the form, what Dagster is asked, what its refusals become, the page of a run."""

from dataclasses import replace

import dagster as dg
import pytest

from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow, Touched, note_effects
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.job_runs import JobRun
from imagesync_pipelines.web.catalogue.admin import runs as launching
from imagesync_pipelines.web.catalogue.admin.runs import NothingToStartError
from imagesync_pipelines_tests.web.catalogue.admin.browsing import RUN_ID, Browser, FakeDagster, at_dagster, person
from imagesync_pipelines_tests.web.catalogue.test_plans import save
from imagesync_pipelines_tests.web.catalogue.world import NOW, Run, Site, World, serving

# The connectors with accounts, each with one of them.
DECLARED = {"plytix": "main", "moysklad": "north", "edge": "store1"}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions()


def check_config(definitions: dg.Definitions, run: JobRun) -> None:
    """Raises when Dagster would not take the configuration for the job."""
    job = definitions.resolve_job_def(run.job)
    assert dg.validate_run_config(job, dict(run.run_config)) is not None


@pytest.mark.parametrize("dry_run", [False, True], ids=["sync", "dry run"])
@pytest.mark.parametrize("connector", DECLARED)
def test_a_connectors_run_is_the_one_that_the_connector_itself_starts(
    definitions: dg.Definitions, connector: str, dry_run: bool
) -> None:
    account = DECLARED[connector]
    own = job_runs.run_of(connector_named(connector), account, {"dry_run": dry_run})
    ours = launching.sync_of_connector(connector, [account], account, dry_run=dry_run)
    assert (ours.job, ours.tags) == (own.job, own.tags)
    check_config(definitions, ours)
    # All that both say is the same, but the moment at which each was asked.
    for op, said in ours.run_config.get("ops", {}).items():
        theirs = {**own.run_config["ops"][op]["config"]}
        assert (said["config"].pop("since", None) is None) == (theirs.pop("since", None) is None)
        assert said["config"] == theirs


@pytest.mark.parametrize("connector", DECLARED)
def test_applying_a_plan_is_what_the_connector_itself_does(definitions: dg.Definitions, connector: str) -> None:
    account = DECLARED[connector]
    header = plan_header(connector, {"account": account})
    ours = launching.apply_of(header)
    own = job_runs.apply_run(connector_named(connector), account, 7, {})
    assert ours == own
    check_config(definitions, ours)


def test_runs_of_the_image_database_are_those_of_its_declaration(definitions: dg.Definitions) -> None:
    blocks = ["000001-000010", "000011-000020", "000021-000030"]
    whole = launching.sync_of_connector("image_db", blocks, "", dry_run=False)
    assert (whole.job, whole.tags) == ("image_db__sync", job_runs.all_blocks_tags())
    assert launching.sync_of_connector("image_db", blocks, "", dry_run=True).job == "image_db__dry_run"
    declared = connector_named("image_db")
    of_one = launching.sync_of_connector("image_db", (), "", dry_run=True, skus=["1"])
    for ours, asked in (
        (launching.replay_of(["1", "2"]), {"external_ids": ["1", "2"]}),
        (of_one, {"skus": ["1"], "dry_run": True}),
    ):
        own = job_runs.run_of(declared, "", asked)
        assert (ours.job, ours.tags) == (own.job, own.tags)
        for op, said in ours.run_config["ops"].items():
            assert said["config"].items() <= own.run_config["ops"][op]["config"].items()
    applied = launching.apply_of(plan_header("image_db", {}))
    assert applied == job_runs.apply_run(declared, "", 7, {})
    for run, job in (
        (of_one, "image_db__skus_dry_run"),
        (launching.replay_of(["1"]), "image_db__partial"),
        (applied, "image_db__apply"),
    ):
        assert run.job == job
        check_config(definitions, run)


def plan_header(connector: str, scope: dict[str, str]) -> PlanHeader:
    return PlanHeader(connector, "run", scope, {}, {}, None, 7, NOW, "", {}, None, None)


@pytest.mark.parametrize(
    ("ask", "told"),
    [(lambda: launching.sync_of_connector("image_db", [], "", dry_run=False), "page_discovery"),
     (lambda: launching.sync_of_connector("edge", ["a", "b"], "c", dry_run=False), "Dagster knows: a, b"),
     (lambda: launching.replay_of([]), "None of these"),
     (lambda: launching.apply_of(replace(plan_header("edge", {"account": "a"}), applied_at=NOW)), "applied already")],
    ids=["no pages", "another store", "nothing to replay", "applied"],
)  # fmt: skip
def test_what_cannot_be_started_says_why(ask, told: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NothingToStartError, match=told):
        ask()


def test_skus_are_taken_as_people_write_them() -> None:
    assert launching.skus_of(" 803721,803722;\n803721\t AB-1 \r\n") == ("803721", "803722", "AB-1")


def test_the_form_starts_a_run_in_the_persons_name_and_shows_its_page(
    world: World, admin: Browser, dagster: FakeDagster
) -> None:
    world.product("100")
    world.product("200")
    photo = {"connector": "edge", "account": "store1", "key": "1", "group_key": "1", "fingerprint": "f"}
    with world.engine.begin() as connection:
        connection.execute(mirror.insert().values(**photo, payload={"product_sku": "300"}))
    whole = job_runs.all_blocks_tags()
    dry = {"imagesync/dry_run": "yes"}
    for typed, job, tags in (
        ({"what": "products", "skus": "100\n200"}, "image_db__skus", {"imagesync/skus": "100, 200"}),
        ({"what": "products", "skus": "100", "channel": "folder/"}, "folder__sync", {"imagesync/skus": "100"}),
        (
            {"what": "products", "skus": "300", "channel": "edge/store1", "dry_run": "1"},
            "edge__dry_run",
            {"dagster/partition": "store1", "imagesync/skus": "300", **dry},
        ),
        ({"what": "image_db"}, "image_db__sync", whole),
        ({"what": "image_db", "dry_run": "1"}, "image_db__dry_run", {**whole, **dry}),
        ({"what": "edge/store1"}, "edge__sync", {"dagster/partition": "store1"}),
        ({"what": "moysklad/north", "dry_run": "1"}, "moysklad__dry_run", {"dagster/partition": "north", **dry}),
    ):
        page = admin.send_form("/admin/start", "/admin/start", **typed)
        assert page.url.endswith(f"/admin/runs/{RUN_ID}")
        asked = dagster.launched[-1]
        sent = {tag["key"]: tag["value"] for tag in asked["executionMetadata"]["tags"]}
        assert (asked["selector"]["jobName"], sent) == (job, {**tags, "imagesync/started_by": "anna"})
    config = dagster.launched[0]["runConfigData"]["ops"]["image_db__records"]["config"]
    assert (config["skus"], len(dagster.launched)) == (["100", "200"], 7)


def test_a_mistake_is_told_above_the_form_which_keeps_what_was_typed(
    world: World, admin: Browser, dagster: FakeDagster
) -> None:
    world.product("100")
    for what, skus, told in (
        ("products", "100 4711 0815", "4711, 0815: the ERP has no product with this SKU. Nothing was started."),
        ("products", "", "Name at least one SKU."),
        ("products", " ".join(map(str, range(5001))), "These are 5,001 SKUs. Name 5,000 at most"),
        ("edge/elsewhere", "", "There is no account or store"),
        ("nothing", "", "Choose what to synchronise."),
    ):
        page = admin.send_form("/admin/start", "/admin/start", what=what, skus=skus)
        assert '<option value="plytix/main">' in page.text
        assert (page.status_code, dagster.launched) == (409, []), what
        assert told in page.text
        assert f">{skus}</textarea>" in page.text


def test_what_dagster_refuses_is_told(world: World, admin: Browser, dagster: FakeDagster) -> None:
    dagster.refuses = {"__typename": "RunConfigValidationInvalid", "errors": [{"message": "Missing field x"}]}
    page = admin.send_form("/admin/start", "/admin/start", what="image_db")
    assert "Dagster refused: Missing field x" in page.text


def test_when_nobody_knows_whether_a_run_started_that_is_what_is_told(admin: Browser, dagster: FakeDagster) -> None:
    dagster.launch_status = 502
    page = admin.send_form("/admin/start", "/admin/start", what="image_db")
    assert "it may have started: look at the history" in page.text
    assert len(dagster.launched) == 1


def test_without_dagster_the_pages_stay_and_say_so(world: World) -> None:
    person(world)
    with serving(at_dagster(world, "http://127.0.0.1:9").opened) as site:
        browser = Browser(site)
        browser.log_in("anna")
        for page in (
            browser.get("/admin/start"),
            browser.send_form("/admin/start", "/admin/start", what="image_db"),
            browser.get(f"/admin/runs/{RUN_ID}"),
        ):
            assert "does not answer" in page.text
            assert page.status_code in {200, 409}


def test_the_page_of_a_run_asks_again_until_it_has_ended(site: Site, admin: Browser, dagster: FakeDagster) -> None:
    part = f"/admin/runs/{RUN_ID}/state"
    polling = f'hx-get="{part}" hx-trigger="every 2s"'
    assert polling in admin.get(f"/admin/runs/{RUN_ID}").text
    dagster.status = "STARTED"
    again = admin.get(part, **{"HX-Request": "true"})
    assert "running" in again.text
    assert polling in again.text
    assert "<html" not in again.text
    dagster.status = "SUCCESS"
    ended = admin.get(part, **{"HX-Request": "true"}).text
    assert "completed" in ended
    assert "hx-trigger" not in ended
    assert f'href="https://dagster.example.com/runs/{RUN_ID}"' in admin.get(f"/admin/runs/{RUN_ID}").text
    assert admin.get(f"/admin/runs/{RUN_ID[:-1]}f").status_code == 404


def test_an_ended_run_tells_what_it_changed(world: World, dagster: FakeDagster) -> None:
    person(world)
    evil = "<script>alert(1)</script>"
    told = {"error": f"page 7 is broken {evil}", "summary": {"warnings": [f"late {evil}"]}}
    past = Run(run_id=RUN_ID, added=1234, status="failed", **told)  # type: ignore[arg-type]
    opened = replace(at_dagster(world, dagster.address).opened, read_runs=lambda limit, connector: [past])
    dagster.status = "FAILURE"
    with serving(opened) as site:
        browser = Browser(site)
        browser.log_in("anna")
        text = browser.get(f"/admin/runs/{RUN_ID}").text
    assert "1,234" in text
    assert "page 7 is broken &lt;script&gt;" in text
    assert "late &lt;script&gt;" in text
    assert evil not in text
    assert "anna" in text


def test_a_plan_that_was_looked_at_is_applied(world: World, admin: Browser, dagster: FakeDagster) -> None:
    plan_id = save(world, [{"key": "1/2", "change": "add", "reason": "new", "group": "1", "product": "100"}])
    page = admin.send_form(f"/plans/{plan_id}", f"/admin/plans/{plan_id}/apply")
    assert page.url.endswith(f"/admin/runs/{RUN_ID}")
    assert dagster.launched[0]["runConfigData"]["ops"]["image_db__product_images"]["config"]["plan_id"] == plan_id
    Plans(world.engine, world.opened.storage).mark_applied(plan_id, "run")
    assert "Apply this plan" not in admin.get(f"/plans/{plan_id}").text
    assert admin.post(f"/admin/plans/{plan_id}/apply", {"csrf": admin.csrf()}).status_code == 409
    assert admin.post("/admin/plans/4711/apply", {"csrf": admin.csrf()}).status_code == 404


def test_what_a_run_changed_is_taken_back_by_a_plan(
    world: World, admin: Browser, dagster: FakeDagster, definitions: dg.Definitions
) -> None:
    page, row = f"/admin/runs/{RUN_ID}", EffectRow("1/2", "add", "new", fingerprint_after="f")
    assert "/undo" not in admin.get(page).text
    assert admin.post(f"{page}/undo", {"csrf": admin.csrf()}).status_code == 409
    with world.engine.begin() as connection:
        note_effects(connection, [Effect("image_db", "", "1", (row,), Author(RUN_ID))])
    assert admin.send_form(page, f"{page}/undo").url.endswith(page)
    (asked,) = dagster.launched
    assert asked["selector"]["jobName"] == "image_db__undo"
    assert asked["runConfigData"]["ops"]["image_db__plan_undo"]["config"]["run"] == RUN_ID
    for of in (Touched(RUN_ID, "image_db", ""), Touched(RUN_ID, "plytix", "main")):
        check_config(definitions, launching.undo_of(RUN_ID, [of]))
    with pytest.raises(NothingToStartError, match="can be taken back"):
        launching.undo_of(RUN_ID, [])
    plan_id = save(world, [{"key": "1/2", "change": "add", "reason": "new", "group": "1", "product": "100"}])
    Plans(world.engine, world.opened.storage).mark_applied(plan_id, RUN_ID)
    assert admin.send_form(f"/plans/{plan_id}", f"{page}/undo").url.endswith(page)
    assert f'href="{page}"' in admin.get(f"/plans/{plan_id}").text


def test_a_part_of_a_plan_is_applied_and_who_said_what_is_kept(
    world: World, admin: Browser, dagster: FakeDagster
) -> None:
    rows = [{"key": f"{one}/2", "change": "add", "reason": "new", "group": one} for one in ("1", "2")]
    plan_id = save(world, rows)
    action = f"/admin/plans/{plan_id}/apply"
    refused = admin.send_form(f"/plans/{plan_id}", action, part="1")
    assert (refused.status_code, dagster.launched) == (409, [])
    admin.send_form(f"/plans/{plan_id}", action, part="1", groups=["2"], comment="only this one")
    part_id = dagster.launched[0]["runConfigData"]["ops"]["image_db__product_images"]["config"]["plan_id"]
    assert part_id != plan_id
    plans = Plans(world.engine, world.opened.storage)
    assert plans.load(part_id)["group"].tolist() == ["2"]
    text = " ".join(admin.get(f"/plans/{plan_id}").text.split())
    assert "applied a part of it" in text
    assert f": as plan {part_id}. only this one" in text


def test_a_dismissed_plan_is_applied_after_it_was_approved(world: World, admin: Browser, dagster: FakeDagster) -> None:
    plan_id = save(world, [{"key": "1/2", "change": "add", "reason": "new", "group": "1"}])
    evil = "<script>alert(1)</script>"
    page = admin.send_form(f"/plans/{plan_id}", f"/admin/plans/{plan_id}/say/dismiss", comment=evil)
    assert "dismissed" in page.text
    assert evil not in page.text
    assert "Apply this plan" not in page.text
    assert admin.post(f"/admin/plans/{plan_id}/apply", {"csrf": admin.csrf()}).status_code == 409
    admin.send_form(f"/plans/{plan_id}", f"/admin/plans/{plan_id}/say/approve")
    admin.send_form(f"/plans/{plan_id}", f"/admin/plans/{plan_id}/apply")
    assert len(dagster.launched) == 1
    assert admin.post("/admin/plans/4711/say/dismiss", {"csrf": admin.csrf()}).status_code == 404
