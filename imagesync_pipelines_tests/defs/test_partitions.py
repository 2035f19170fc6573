"""Blocks of pages have stable names in order, and a range run marks every block as what it became."""

from dataclasses import replace

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.accounts.file import Accounts, KnownAccounts
from imagesync_pipelines.defs import work
from imagesync_pipelines.defs.launching import blocks_in_flight, in_flight, keep_partitions, partitions_of
from imagesync_pipelines.defs.work import log_landed, report_partitions
from imagesync_pipelines.sync.blocks import (
    BadBlockError,
    block_key,
    block_pages,
    check_block_size,
    missing_blocks,
    page_blocks,
    stray_blocks,
)
from imagesync_pipelines.sync.connector import AccountSet
from imagesync_pipelines.sync.job_runs import RANGE_END_TAG, RANGE_START_TAG, all_blocks_tags, range_tags
from imagesync_pipelines_tests.defs.toy import TOY

BLOCKS = page_blocks(60, 10)
# A connector whose accounts are the sections of its accounts file.
CONNECTOR = replace(
    TOY,
    name="connector",
    accounts=AccountSet("connector_accounts", "account", lambda file: KnownAccounts("account", file.document), "none"),
)
PAGES = dg.DynamicPartitionsDefinition(name="pages")


@pytest.fixture
def instance(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """The instance in memory, with six blocks of pages."""
    instance.add_dynamic_partitions("pages", BLOCKS)
    return instance


@given(pages=st.integers(1, 5000), size=st.integers(1, 200))
def test_blocks_cover_every_page_once_in_the_order_of_their_names(pages: int, size: int) -> None:
    keys = page_blocks(pages, size)
    covered = [page for key in keys for page in block_pages(key)]
    assert covered == list(range(1, len(keys) * size + 1))
    assert pages <= covered[-1] < pages + size
    assert keys == sorted(keys)
    check_block_size(keys, size, "imagesync image-db reset-pages")


def test_a_source_that_grows_by_a_page_keeps_its_blocks() -> None:
    assert page_blocks(125, 10)[:12] == page_blocks(120, 10)
    assert page_blocks(125, 10) == page_blocks(130, 10)
    assert page_blocks(0, 10) == []


@pytest.mark.parametrize("key", ["1-10", "000010-000001", "000000-000010", "000001-000010 ", "abc", "", "000001"])
def test_a_key_that_is_no_block_is_refused(key: str) -> None:
    with pytest.raises(BadBlockError, match="000001-000010"):
        block_pages(key)


@pytest.mark.parametrize(("first", "size"), [(0, 10), (1, 0), (999_995, 10)])
def test_pages_that_make_no_block_are_refused(first: int, size: int) -> None:
    with pytest.raises(BadBlockError):
        block_key(first, size)


@pytest.mark.parametrize("size", [5, 20, 7])
def test_another_block_size_is_refused_with_the_way_out(size: int) -> None:
    with pytest.raises(BadBlockError, match="reset-pages"):
        check_block_size(BLOCKS, size, "imagesync image-db reset-pages")


def test_missing_blocks_are_found_in_order() -> None:
    assert missing_blocks(BLOCKS[:2], BLOCKS[:4]) == BLOCKS[2:4]
    assert missing_blocks([], BLOCKS) == BLOCKS
    assert missing_blocks(BLOCKS, BLOCKS[:3]) == []


@pytest.mark.parametrize(
    ("existing", "wanted", "busy", "removed"),
    [
        pytest.param("01234", "01", "", "432", id="the source is shorter"),
        pytest.param("01234", "01", "3", "4", id="a run is on one in the middle: it and what is before it stay"),
        pytest.param("01234", "01", "4", "", id="a run is on the last one"),
        pytest.param("01234", "01", "01", "432", id="a run is on blocks that stay anyway"),
        pytest.param("014", "01234", "", "4", id="a gap of an earlier release: what is after it is added anew"),
        pytest.param("014", "01234", "4", "", id="a gap, and a run is on the block after it"),
        pytest.param("01", "01", "", "", id="nothing changed"),
        pytest.param("", "01", "", "", id="the first time"),
    ],
)
def test_blocks_are_removed_from_the_end_only_so_that_they_can_come_back(
    existing: str, wanted: str, busy: str, removed: str
) -> None:
    keys = [[BLOCKS[int(number)] for number in numbers] for numbers in (existing, wanted, busy, removed)]
    assert stray_blocks(*keys[:3]) == keys[3]
    left = [key for key in keys[0] if key not in keys[3]]
    after = [*left, *missing_blocks(left, keys[1])]
    assert after == sorted(after)
    if not busy:
        assert after == keys[1]


def test_the_range_of_a_run_is_read_from_its_tags() -> None:
    ranged = dg.DagsterRun(job_name="j", tags=range_tags(BLOCKS[0], BLOCKS[2]))
    single = dg.DagsterRun(job_name="j", tags={"dagster/partition": BLOCKS[1]})
    assert partitions_of(ranged) == (BLOCKS[0], BLOCKS[2])
    assert partitions_of(single) == (BLOCKS[1], BLOCKS[1])
    assert partitions_of(dg.DagsterRun(job_name="j")) is None


def test_the_tags_are_those_that_dagster_reads() -> None:
    from dagster._core.storage import tags

    assert (RANGE_START_TAG, RANGE_END_TAG) == (
        tags.ASSET_PARTITION_RANGE_START_TAG,
        tags.ASSET_PARTITION_RANGE_END_TAG,
    )


def test_blocks_of_unfinished_runs_are_in_flight_and_those_of_finished_runs_are_not(
    instance: dg.DagsterInstance,
) -> None:
    running = dg.DagsterRun(job_name="j", tags=range_tags(BLOCKS[1], BLOCKS[2]), status=dg.DagsterRunStatus.STARTED)
    starting = dg.DagsterRun(job_name="k", tags={"dagster/partition": BLOCKS[4]}, status=dg.DagsterRunStatus.STARTING)
    done = dg.DagsterRun(job_name="j", tags=range_tags(BLOCKS[0], BLOCKS[5]), status=dg.DagsterRunStatus.SUCCESS)
    plain = dg.DagsterRun(job_name="j", status=dg.DagsterRunStatus.STARTED)
    for run in (running, starting, done, plain):
        instance.add_run(run)
    assert blocks_in_flight(instance, BLOCKS) == {BLOCKS[1], BLOCKS[2], BLOCKS[4]}
    instance.add_run(dg.DagsterRun(job_name="j", tags=all_blocks_tags(), status=dg.DagsterRunStatus.STARTED))
    assert blocks_in_flight(instance, BLOCKS) == set(BLOCKS)


def test_accounts_become_partitions_and_one_that_left_stays_while_its_run_is_unfinished(
    instance: dg.DagsterInstance,
) -> None:
    assert keep_partitions(instance, CONNECTOR, Accounts({"b": {}, "a": {}})) == ["a", "b"]
    button = dg.DagsterRun(
        job_name="__ASSET_JOB",
        tags={"dagster/partition": "a"},
        asset_selection=frozenset([dg.AssetKey(["connector", "plan"])]),
        status=dg.DagsterRunStatus.STARTING,
    )
    instance.add_run(button)
    assert keep_partitions(instance, CONNECTOR, Accounts({"c": {}})) == ["c"]
    assert set(instance.get_dynamic_partitions("connector_accounts")) == {"a", "c"}
    instance.delete_run(button.run_id)
    keep_partitions(instance, CONNECTOR, Accounts({"c": {}}))
    assert set(instance.get_dynamic_partitions("connector_accounts")) == {"c"}


@pytest.mark.parametrize(
    ("job", "partition", "status", "busy"),
    [
        pytest.param("connector__sync", "a", dg.DagsterRunStatus.STARTED, {"a"}, id="at work"),
        pytest.param("connector__sync", "a", dg.DagsterRunStatus.FAILURE, set(), id="ended"),
        pytest.param("other__sync", "a", dg.DagsterRunStatus.STARTED, set(), id="another connector, same name"),
        pytest.param("connector__sync", "z", dg.DagsterRunStatus.STARTED, set(), id="nobody asked"),
    ],
)
def test_an_account_is_in_flight_while_a_run_of_its_connector_works_on_it(
    instance: dg.DagsterInstance, job: str, partition: str, status: dg.DagsterRunStatus, busy: set[str]
) -> None:
    instance.add_run(dg.DagsterRun(job_name=job, tags={"dagster/partition": partition}, status=status))
    assert in_flight(instance, CONNECTOR, ["a", "b"]) == busy


def materialize(
    instance: dg.DagsterInstance,
    *,
    bad: frozenset[str] = frozenset(),
    only: frozenset[str] | None = None,
    named: bool = True,
) -> tuple[bool, set[str]]:
    """Run a partitioned asset and one after it; success, and the assets that were materialised."""

    @dg.asset(partitions_def=PAGES, backfill_policy=dg.BackfillPolicy.single_run())
    def pages(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        wanted = [key for key in BLOCKS if only is None or key in only]
        landed = {key: {"records": 7} for key in wanted if key not in bad}
        report_partitions(context, landed, {key: "page 3: <b>HTTP 500</b>" for key in wanted if key in bad})
        return dg.MaterializeResult()

    @dg.asset(deps=[pages])
    def records() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    tags = range_tags(BLOCKS[0], BLOCKS[-1]) if named else {}
    result = dg.materialize([pages, records], instance=instance, tags=tags, raise_on_error=False)
    logged = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    keys = {entry.dagster_event.asset_key for entry in logged if entry.dagster_event is not None}
    return result.success, {key.to_user_string() for key in keys if key is not None}


def test_a_range_that_landed_marks_every_block_with_its_own_numbers(instance: dg.DagsterInstance) -> None:
    success, assets = materialize(instance)
    assert success
    assert assets == {"pages", "records"}
    assert instance.get_materialized_partitions(dg.AssetKey("pages")) == set(BLOCKS)
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey("pages"), asset_partitions=[BLOCKS[3]]), limit=5
    ).records
    assert [record.asset_materialization.metadata["records"].value for record in records] == [7]  # type: ignore[union-attr]


def test_a_range_with_bad_blocks_keeps_the_good_ones_and_stops_what_depends_on_it(instance: dg.DagsterInstance) -> None:
    success, assets = materialize(instance, bad=frozenset(BLOCKS[2:4]))
    assert not success
    assert assets == {"pages"}
    assert instance.get_materialized_partitions(dg.AssetKey("pages")) == set(BLOCKS) - set(BLOCKS[2:4])
    success, _ = materialize(instance)
    assert success
    assert instance.get_materialized_partitions(dg.AssetKey("pages")) == set(BLOCKS)


def test_a_run_that_names_no_partitions_marks_only_the_blocks_that_landed_and_goes_on(
    instance: dg.DagsterInstance,
) -> None:
    success, assets = materialize(instance, only=frozenset(BLOCKS[1:3]), named=False)
    assert success
    assert assets == {"pages", "records"}
    assert instance.get_materialized_partitions(dg.AssetKey("pages")) == set(BLOCKS[1:3])


def reading(instance: dg.DagsterInstance, contents: dict[str, str], *, named: bool = False) -> set[str]:
    """Run an asset whose blocks have this content ('': it failed); gives the blocks that this run marked."""

    @dg.asset(partitions_def=PAGES, backfill_policy=dg.BackfillPolicy.single_run())
    def pages(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        landed = {key: {"records": 7, "content": text} for key, text in contents.items() if text}
        report_partitions(context, landed, {key: "page 3: HTTP 500" for key, text in contents.items() if not text})
        return dg.MaterializeResult()

    tags = range_tags(min(contents), max(contents)) if named else {}
    result = dg.materialize([pages], instance=instance, tags=tags, raise_on_error=False)
    logged = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return {entry.dagster_event.partition for entry in logged if entry.dagster_event is not None} - {None}  # type: ignore[arg-type]


def status(instance: dg.DagsterInstance) -> dict[str, str]:
    """Every block as the UI colours it."""
    found = instance.get_status_by_partition(dg.AssetKey("pages"), BLOCKS, PAGES) or {}
    return {name: value.name for name, value in found.items() if value is not None}


def test_a_run_that_names_no_blocks_marks_only_what_is_new_changed_or_was_not_made(
    instance: dg.DagsterInstance,
) -> None:
    first, second, third = BLOCKS[:3]
    assert reading(instance, {first: "a", second: "b"}) == {first, second}
    assert reading(instance, {first: "a", second: "b"}) == set()
    assert reading(instance, {first: "a", second: "c", third: "d"}) == {second, third}
    assert reading(instance, {first: "a", second: "", third: "d"}) == set()
    assert status(instance)[second] == "FAILED"
    assert status(instance)[first] == status(instance)[third] == "MATERIALIZED"
    assert reading(instance, {first: "a", second: "c", third: "d"}) == {second}, "it is in order again"
    assert status(instance)[second] == "MATERIALIZED"


def test_more_blocks_than_dagster_gives_at_once_are_compared_in_portions(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_LIMIT_GET_EVENT_RECORDS", "2")
    monkeypatch.setattr(work, "EVENTS_AT_ONCE", 2)
    landed = dict.fromkeys(BLOCKS[:5], "a")
    assert reading(instance, landed) == set(BLOCKS[:5])
    assert reading(instance, landed) == set()
    assert reading(instance, {**landed, BLOCKS[4]: "b"}) == {BLOCKS[4]}


def test_a_block_that_a_person_asks_for_is_marked_whatever_it_was(instance: dg.DagsterInstance) -> None:
    assert reading(instance, {BLOCKS[0]: "a"}) == {BLOCKS[0]}
    assert reading(instance, {BLOCKS[0]: "a"}, named=True) == {BLOCKS[0]}
    assert reading(instance, {BLOCKS[0]: "a"}) == set()


def test_a_named_block_that_was_not_read_is_never_marked(instance: dg.DagsterInstance) -> None:
    success, assets = materialize(instance, only=frozenset(BLOCKS[1:3]))
    assert not success
    assert assets == set()
    assert instance.get_materialized_partitions(dg.AssetKey("pages")) == set()


def test_a_block_that_appeared_during_the_run_is_marked_with_the_others(instance: dg.DagsterInstance) -> None:
    @dg.asset(partitions_def=PAGES, backfill_policy=dg.BackfillPolicy.single_run())
    def pages(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        report_partitions(context, {key: {"records": 1} for key in BLOCKS}, {})
        return dg.MaterializeResult()

    assert dg.materialize([pages], instance=instance, tags=range_tags(BLOCKS[0], BLOCKS[4])).success
    marked = instance.fetch_materializations(dg.AssetKey("pages"), limit=50).records
    assert sorted(record.partition_key or "" for record in marked) == BLOCKS


def test_another_asset_may_mark_the_blocks_it_read(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def records(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        log_landed(context, dg.AssetKey("pages"), {BLOCKS[1]: {"records": 5}})
        return dg.MaterializeResult()

    assert dg.materialize([records], instance=instance).success
    assert instance.get_materialized_partitions(dg.AssetKey("pages")) == {BLOCKS[1]}


def test_the_failure_names_the_blocks_and_their_reasons(instance: dg.DagsterInstance) -> None:
    @dg.asset(partitions_def=PAGES, backfill_policy=dg.BackfillPolicy.single_run())
    def pages(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        report_partitions(context, {}, dict.fromkeys(context.partition_keys, "page 3: <b>HTTP 500</b>"))
        return dg.MaterializeResult()

    with pytest.raises(dg.Failure) as caught:
        dg.materialize([pages], instance=instance, tags=range_tags(BLOCKS[0], BLOCKS[1]))
    assert (caught.value.description or "").startswith(
        "2 of 2 partitions of pages failed: 000001-000010, 000011-000020."
    )
    assert "<b>" not in str(caught.value.metadata["reasons"].value)
    assert caught.value.allow_retries is False
