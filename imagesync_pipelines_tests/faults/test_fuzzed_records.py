"""Records of garbage, pages full of them: none stops a run, and none costs an ordinary record its row."""

from random import Random

import pytest

from imagesync_pipelines.sandbox.image_db.server import Sandbox
from imagesync_pipelines_tests.e2e.connectors import Connectors, from_scratch
from imagesync_pipelines_tests.sandbox.image_db.fuzzed import fuzzed_record
from imagesync_pipelines_tests.sandbox.image_db.odd import odd_records

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [300, 10_000])
def test_fuzzed_records_never_stop_a_run(connectors: Connectors, sandbox: Sandbox, number: int) -> None:
    connector = from_scratch(connectors, sandbox)
    ordinary = connector.table()
    rng = Random(number)
    skus = [row["sku"] for row in sandbox.catalogue.products.variants]
    for _ in range(number):
        record = fuzzed_record(rng)
        links = record.get("articles") if isinstance(record, dict) else None
        for link in links if isinstance(links, list) else ():
            if isinstance(link, dict) and isinstance(link.get("number"), str) and rng.random() < 0.3:
                link["number"] = rng.choice(skus)
        sandbox.catalogue.insert(record, rng.randrange(len(sandbox.catalogue)))
    result = connector.sync()
    about = result.records
    assert about.records + len(about.rejects) + about.repeated == len(sandbox.catalogue)
    assert len(about.rejects) > number / 10
    assert result.done.summary.failed == 0, result.done.errors
    assert result.written[0] > number / 40
    connector.assert_one_primary_each()
    table = connector.table()
    keys = ["kind", "erp_id", "external_id", "fingerprint"]
    kept = ordinary[keys].merge(table[keys], on=keys)
    assert len(kept) == len(ordinary)
    stamps = connector.stamps()
    assert connector.sync().written == (0, 0, 0)
    assert connector.stamps() == stamps


def test_a_record_with_null_everywhere_costs_itself_only(connectors: Connectors, sandbox: Sandbox) -> None:
    connector = from_scratch(connectors, sandbox)
    before = connector.stamps()
    sandbox.mutate("insert_record", record=odd_records(sandbox.catalogue)["null everywhere"], position=40)
    result = connector.sync()
    assert len(result.records.rejects) == 1
    assert not result.records.complete, "a record without identity may be any image"
    assert connector.stamps() == before


def test_a_duplicate_file_id_is_counted_and_the_record_read_last_wins(connectors: Connectors, sandbox: Sandbox) -> None:
    connector = from_scratch(connectors, sandbox, image_api_concurrency=1)
    shown = connector.table()["external_id"][0]
    twin = sandbox.catalogue.record(int(shown))
    twin["original_file"]["type"] = "Szene" if twin["original_file"]["type"] != "Szene" else "Illustration"
    sandbox.mutate("insert_record", record=twin, position=len(sandbox.catalogue))
    first = connector.sync()
    assert first.records.conflicts == 1
    assert not first.records.complete
    assert connector.rows(shown)[0]["image_type"] == twin["original_file"]["type"]
    stamps = connector.stamps()
    assert connector.sync().written == (0, 0, 0)
    assert connector.stamps() == stamps
