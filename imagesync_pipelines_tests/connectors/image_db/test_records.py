"""Records: what is canonical, what is a reject and why, and that no JSON value whatever stops a page."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesync_pipelines.connectors.image_db.columns import facts_of
from imagesync_pipelines.connectors.image_db.errors import BadPageError
from imagesync_pipelines.connectors.image_db.records import (
    Link,
    PageAnswer,
    PageContent,
    Record,
    Reject,
    legible_id,
    parse_page,
    read_page,
)
from imagesync_pipelines_tests.connectors.image_db.made_up import export, full_exports, link, page, placeholder, record


def only_record(raw: Any) -> Record:
    content = read_page(page(raw))
    assert content.rejects == []
    return content.records[0]


def only_reject(raw: Any) -> Reject:
    content = read_page(page(raw))
    assert content.records == []
    return content.rejects[0]


def test_a_record_is_read_as_the_contract_has_it() -> None:
    found = only_record(record(930363, exports=[export(created="2024-05-01T08:00:00+00:00"), placeholder()]))
    assert found.external_id == "930363"
    assert found.image_type == "Produktfoto"
    assert found.links == (Link("803721", "BE", True),)
    assert found.chosen.image_url is not None


def test_the_envelope_comes_with_the_records() -> None:
    content = read_page(page(record(1), count=2489, following="http://host/?page=2&page_size=1"))
    assert (content.api_count, content.next_page) == (2489, 2)


def test_trap_4_identity_is_the_file_id_and_neither_id_nor_url() -> None:
    raw = {**record(77), "id": 5}
    assert only_record(raw).external_id == "77"
    assert only_reject({**record(), "original_file": {"id": 5, "db_id": 6}}).external_id is None


SAME = {
    "stock drifts": record(links=[link(stock=-18)]),
    "stock is null": record(links=[link(stock=None)]),
    "stock is gone": record(links=[{"number": "803721", "variant": "BE", "front": True}]),
    "the link comes three times": record(links=[link()] * 3),
    "exports in another order": record(exports=full_exports()[::-1]),
    "a key nobody knows": {**record(), "views": 17},
    "blanks around texts": record(links=[link(" 803721 ", "BE ")], type=" Produktfoto"),
    "the number as an integer": record(links=[link(803721)]),
    "keys in another order": dict(reversed(record().items())),
    "NUL inside a text": record(type="Produkt\0foto"),
}


@pytest.mark.parametrize("raw", SAME.values(), ids=SAME.keys())
def test_trap_5_the_fingerprint_leaves_out_stock_and_every_order(raw: dict) -> None:
    assert only_record(raw).fingerprint == only_record(record()).fingerprint


DIFFERENT = {
    "re-exported": record(exports=full_exports(50)),
    "link re-fronted": record(links=[link(front=False)]),
    "link added": record(links=[link(), link("803722")]),
    "link gone": record(links=[]),
    "type changed": record(type="Szene"),
    "original replaced": record(file_url="https://media.example.com/media/new.psd"),
}


@pytest.mark.parametrize("raw", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_a_real_change_changes_the_fingerprint(raw: dict) -> None:
    assert only_record(raw).fingerprint != only_record(record()).fingerprint


def test_the_canonical_record_holds_everything_but_stock() -> None:
    raw = record(links=[link("2"), link("1")], exports=[export(number=7), export(number=3)])
    canonical = orjson.loads(only_record(raw).canonical)
    assert canonical["original_file"] == raw["original_file"]
    assert [one["id"] for one in canonical["exported_files"]] == [3, 7]
    assert canonical["articles"] == [
        {"number": "1", "variant": "BE", "front": True},
        {"number": "2", "variant": "BE", "front": True},
    ]


def test_trap_6_the_newest_export_is_the_hint_of_a_change_and_import_times_are_not() -> None:
    exports = [export(created="2024-02-01T10:00:00+00:00"), export(created="2024-02-01T12:30:00.5+02:00")]
    raw = record(exports=exports, imported_at="2030-01-01T00:00:00+00:00")
    assert only_record(raw).chosen.newest_export == datetime(2024, 2, 1, 10, 30, 0, 500000, UTC)


def test_trap_7_null_fields_of_exports_are_no_values_and_no_rejects() -> None:
    nothing = dict.fromkeys(export(), None)
    found = only_record(record(exports=[placeholder(), nothing, {}]))
    assert found.chosen.image_url is None
    assert found.chosen.newest_export == datetime(2024, 2, 1, 10, 0, 0, 123456, UTC)


def test_trap_7_a_record_without_exports_is_a_record() -> None:
    assert only_record(record(exports=[], is_processed=False)).chosen.image_url is None
    shown = only_record(record(exports=[], format="jpeg", file_url="https://media.example.com/a.jpg"))
    assert shown.chosen.image_url == "https://media.example.com/a.jpg"


REJECTS = {
    "null everywhere": (dict.fromkeys(record()), None, "original_file"),
    "no object": ("oops", None, "the record"),
    "null": (None, None, "the record"),
    "file_id is text": (record("1001"), "1001", "original_file.file_id"),
    "file_id is true": (record(True), None, "original_file.file_id"),
    "file_id is zero": (record(0), None, "original_file.file_id"),
    "file_id is a fraction": (record(1.5), None, "original_file.file_id"),
    "file_id is too long for any column": (record(10**30), None, "original_file.file_id"),
    "articles are null": ({**record(), "articles": None}, "1001", "articles"),
    "exports are gone": (
        {key: value for key, value in record().items() if key != "exported_files"},
        "1001",
        "exported",
    ),
    "number is null": (record(links=[link(None)]), "1001", "articles.0.number"),
    "a URL of 501 characters": (record(file_url="https://h/" + "x" * 491), "1001", "original_file.file_url"),
    "a type of 51 characters": (record(type="x" * 51), "1001", "original_file.type"),
    "a URL that is a script": (record(exports=[export(image_url="javascript:alert(1)")]), "1001", "image_url"),
    "a lone surrogate": (record(type="\ud800"), "1001", "original_file.type"),
}


@pytest.mark.parametrize(("raw", "external_id", "field"), REJECTS.values(), ids=REJECTS.keys())
def test_a_record_that_cannot_be_used_is_a_reject_that_names_the_field(
    raw: Any, external_id: str | None, field: str
) -> None:
    reject = only_reject(raw)
    assert reject.external_id == external_id
    assert field in reject.reason
    assert "\n" not in reject.reason


WORDS = {
    "no URL": (record(file_url="ftp://h/a.psd"), "original_file.file_url: not an http or https URL"),
    "too long": (record(type="x" * 51), "original_file.type: longer than 50 characters, more than our column holds"),
    "missing": ({"original_file": {"file_id": 1}}, "exported_files: missing (and 1 more)"),
    "no object": (7, "the record: not an object"),
}


@pytest.mark.parametrize(("raw", "reason"), WORDS.values(), ids=WORDS.keys())
def test_the_reason_is_in_words_for_people(raw: Any, reason: str) -> None:
    assert only_reject(raw).reason == reason


def signed(url: str, number: int) -> str:
    return f"{url}?X-Amz-Date=2026010{number}T000000Z&X-Amz-Expires=3600&X-Amz-Signature={number:064x}"


def signed_record(number: int, *, export_too: bool = True) -> dict[str, Any]:
    one = export(image_url=signed(export()["image_url"], number)) if export_too else export()
    return record(file_url=signed(record()["original_file"]["file_url"], number), exports=[one])


def test_another_signature_is_no_change_and_is_not_kept() -> None:
    first, second = only_record(signed_record(1)), only_record(signed_record(2))
    assert first.fingerprint == second.fingerprint
    assert first.canonical == second.canonical
    assert b"X-Amz" not in first.canonical
    assert first.file_url == record()["original_file"]["file_url"]


def test_an_address_that_stays_is_chosen_before_one_that_expires() -> None:
    large, small = export(image_url=signed("https://media.example.com/large.png", 1)), export(resolution=[300, 300])
    chosen = only_record(record(exports=[large, small])).chosen
    assert (chosen.image_url, chosen.thumbnail_url) == (small["image_url"], small["image_url"])
    only = only_record(signed_record(1)).chosen
    assert only.image_url == signed(export()["image_url"], 1), "there is no other"


def test_an_address_that_stays_takes_the_place_of_a_signed_one() -> None:
    stays = record(exports=[export()])
    assert only_record(signed_record(1)).canonical == only_record(stays).canonical
    assert only_record(signed_record(1)).fingerprint != only_record(stays).fingerprint
    assert only_record(signed_record(1, export_too=False)).fingerprint == only_record(stays).fingerprint


def test_rows_of_the_release_before_are_not_written_again() -> None:
    assert only_record(record()).fingerprint == "ac093aeac35290f87814ba09edbd73dd"


DETAILS = {
    "a resolution of three": ({"resolution": [1, 2, 3]}, "exported_files.0.resolution [1, 2, 3]"),
    "a resolution in words": ({"resolution": "9x9"}, "exported_files.0.resolution '9x9'"),
    "a width in words": ({"resolution": ["1500 px", 900]}, "exported_files.0.resolution ['1500 px', 900]"),
    "a size that is no number": ({"file_size": float("nan")}, "exported_files.0.file_size nan"),
    "an id of more than 64 bits": ({"id": 2**63}, f"exported_files.0.id {2**63}"),
    "a name that is too long": ({"filename": "f" * 256}, f"exported_files.0.filename '{'f' * 39}…"),
    "a name that is a number": ({"filename": 7}, "exported_files.0.filename 7"),
}


@pytest.mark.parametrize(("fields", "told"), DETAILS.values(), ids=DETAILS.keys())
def test_a_detail_that_cannot_be_read_costs_no_picture_and_is_told(fields: dict[str, Any], told: str) -> None:
    content = read_page(page(record(exports=[export() | fields])))
    assert content.rejects == []
    assert content.records[0].chosen.image_url == export()["image_url"]
    assert content.left_out == [("image 1001", told)]


def test_a_number_of_five_thousand_digits_costs_one_record() -> None:
    body = page(record(424242), record(2)).replace(b'"file_id": 424242', b'"file_id": ' + b"9" * 5000)
    content = read_page(body)
    assert [found.external_id for found in content.records] == ["2"]
    assert content.rejects[0].reason.startswith("original_file.file_id")


def test_a_bad_record_leaves_the_others_of_its_page_alone() -> None:
    content = read_page(page(record(1), record(None), record(3), None))
    assert [found.external_id for found in content.records] == ["1", "3"]
    assert len(content.rejects) == 2


def test_a_records_fingerprint_does_not_depend_on_its_neighbours() -> None:
    alone = only_record(record(1))
    beside_a_reject = read_page(page(record(1), None)).records[0]
    assert alone == beside_a_reject


def test_longest_urls_and_types_are_kept_whole() -> None:
    url = "https://h/" + "x" * 490
    assert only_record(record(file_url=url, type="x" * 50)).file_url == url


def test_the_raw_record_is_kept_with_the_reject() -> None:
    raw = record(None, note="Zürich\0")
    assert json.loads(only_reject(raw).raw) == raw


def test_a_body_that_is_no_page_is_an_error() -> None:
    with pytest.raises(BadPageError):
        read_page(b'{"count": 1, "next": null, "results": [{]}')


MOMENT = datetime(2026, 3, 1, 3, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def odd_records(draw: st.DrawFn) -> Any:
    """A record of the right shape with anything at all put in up to three places."""
    raw = record(draw(st.integers(1, 10**9)))
    for _ in range(draw(st.integers(0, 3))):
        target = draw(
            st.sampled_from([raw, raw["original_file"], *_dicts(raw["exported_files"]), *_dicts(raw["articles"])])
        )
        if isinstance(target, dict) and target:
            target[draw(st.sampled_from(sorted(target)))] = draw(JSON)
    return raw


def _dicts(value: Any) -> list[dict]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


twenty_values = st.lists(JSON | odd_records(), min_size=20, max_size=20)


def check_that_each_value_is_record_or_reject(raws: list) -> None:
    content: PageContent = read_page(page(*raws))
    assert len(content.records) + len(content.rejects) == 20
    for found in content.records:
        assert b"\\u0000" not in found.canonical
        assert orjson.loads(found.canonical)["original_file"]["file_id"] == int(found.external_id)
    for reject in content.rejects:
        assert reject.reason
        assert "\0" not in reject.raw
        reject.raw.encode()


@settings(max_examples=50, deadline=None)
@given(twenty_values)
def test_a_thousand_fuzzed_values_end_as_record_or_reject(raws: list) -> None:
    check_that_each_value_is_record_or_reject(raws)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(twenty_values)
def test_ten_thousand_fuzzed_values_end_as_record_or_reject(raws: list) -> None:
    check_that_each_value_is_record_or_reject(raws)


@given(odd_records(), st.randoms(use_true_random=False))
def test_the_fingerprint_does_not_depend_on_any_order(raw: dict, random: Any) -> None:
    first = read_page(page(raw))
    for name in ("exported_files", "articles"):
        if isinstance(raw[name], list):
            random.shuffle(raw[name])
    second = read_page(page(dict(random.sample(list(raw.items()), len(raw)))))
    assert [found.fingerprint for found in first.records] == [found.fingerprint for found in second.records]


@given(twenty_values)
def test_a_page_tells_the_same_facts_as_received_and_as_read(raws: list) -> None:
    body = page(*raws)
    api_count, next_page, results = parse_page(body)
    ids = tuple(map(legible_id, results))
    received = facts_of(1, PageAnswer(1, body, api_count, next_page, ids), MOMENT)
    read = facts_of(1, read_page(body), MOMENT)
    assert received._replace(file_ids=tuple(sorted(received.file_ids))) == read._replace(
        file_ids=tuple(sorted(read.file_ids))
    )


def test_keys_are_in_the_order_in_which_postgresql_keeps_them() -> None:
    """By length, then by letters; JSON in this order is canonical without sorting and costs jsonb no sorting."""
    canonical = orjson.loads(only_record(dict(reversed(record(1).items()))).canonical)
    (export_,), (link_,) = canonical["exported_files"][:1], canonical["articles"]
    for keys in (list(canonical), list(canonical["original_file"]), list(export_), list(link_)):
        assert keys == sorted(keys, key=lambda key: (len(key), key))
