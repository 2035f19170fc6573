"""Proves that odd and fuzzed records can be carried by JSON and served, and never stop the stand-in itself."""

from random import Random

import orjson
import requests

from imagesync_pipelines.sandbox.image_db.catalogue import build_catalogue, drift_stock
from imagesync_pipelines.sandbox.image_db.pictures import file_id_of, pictures_of
from imagesync_pipelines.sandbox.image_db.server import image_db_sandbox
from imagesync_pipelines_tests.sandbox.image_db.fuzzed import fuzzed_record
from imagesync_pipelines_tests.sandbox.image_db.odd import insert_odd_records, odd_records


def test_there_is_a_record_for_each_way_to_be_odd() -> None:
    catalogue = build_catalogue(records=60)
    odd = odd_records(catalogue)
    assert len(odd) >= 50
    assert odd == odd_records(build_catalogue(records=60))
    assert len({orjson.dumps(record) for record in odd.values()}) == len(odd)
    assert len(catalogue) == 60


def test_one_odd_record_repeats_a_file_id_and_others_have_their_own() -> None:
    catalogue = build_catalogue(records=60)
    odd = odd_records(catalogue)
    shared = file_id_of(odd["file_id of another record"])
    assert shared in catalogue.file_ids()
    own = [file_id_of(record) for record in odd.values() if file_id_of(record) not in (None, shared)]
    assert len(set(own)) == len(own)
    assert len(own) >= 35


def test_odd_records_are_served_as_they_are() -> None:
    with image_db_sandbox(records=60, stock_drift=False) as sandbox:
        insert_odd_records(sandbox)
        received = []
        url: str | None = sandbox.url + "all-files-and-articles/"
        while url:
            body = requests.get(url, auth=(sandbox.username, sandbox.password), timeout=5).json()
            received += body["results"]
            url = body["next"]
        odd = odd_records(build_catalogue(records=60))
        text = orjson.dumps(received).replace(sandbox.media_url.encode(), b"https://images.example/media/")
        served = {orjson.dumps(record) for record in orjson.loads(text)}
        assert {orjson.dumps(record) for record in odd.values()} <= served
        assert len(received) == 60 + len(odd)
        assert requests.get(sandbox.media_url + "u" * 5000, timeout=5).status_code == 200


def test_ten_thousand_fuzzed_records_are_valid_json_and_harm_nothing_here() -> None:
    rng = Random(20251103)
    records = [fuzzed_record(rng) for _ in range(10_000)]
    again = orjson.loads(orjson.dumps(records))
    drift_stock(again, 1, 1)
    identified = 0
    for record in again:
        pictures_of(record)
        identified += file_id_of(record) is not None
    assert 6_000 < identified < 9_000
    assert len({orjson.dumps(record) for record in records}) > 9_000


def test_fuzzed_records_are_the_same_for_the_same_rng() -> None:
    one, other = Random(1), Random(1)
    assert [fuzzed_record(one) for _ in range(50)] == [fuzzed_record(other) for _ in range(50)]
