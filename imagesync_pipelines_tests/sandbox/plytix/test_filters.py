"""Proves the filter language against a plain reading of its rules, for filters that hypothesis makes up."""

from collections.abc import Mapping
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.sandbox.plytix.pim import PimRefusalError
from imagesync_pipelines.sandbox.plytix.searches import LISTED, ORDERED, TEXT, Fields, matches, read_filters

pytestmark = pytest.mark.slow

FIELDS: Fields = {"sku": TEXT | LISTED, "label": TEXT, "size": ORDERED}
TEXTS = st.text("aAbB", max_size=3)
Record = Mapping[str, object]

RECORDS = st.lists(
    st.fixed_dictionaries({"sku": TEXTS, "label": st.none() | TEXTS, "size": st.integers(0, 3)}), min_size=1, max_size=6
)
CONDITIONS = (
    st.fixed_dictionaries(
        {"field": st.sampled_from(["sku", "label"]), "operator": st.sampled_from(["eq", "!eq", "like"]), "value": TEXTS}
    )
    | st.fixed_dictionaries(
        {"field": st.just("sku"), "operator": st.sampled_from(["in", "!in"]), "value": st.lists(TEXTS, max_size=3)}
    )
    | st.fixed_dictionaries(
        {"field": st.sampled_from(["sku", "label"]), "operator": st.sampled_from(["exists", "!exists"])}
    )
    | st.fixed_dictionaries(
        {"field": st.just("size"), "operator": st.sampled_from(sorted(ORDERED)), "value": st.integers(0, 3)}
    )
)


def holds(item: Mapping[str, object], record: Record) -> bool:
    """One condition, read as the contract has it."""
    actual, value, operator = record[str(item["field"])], item.get("value"), item["operator"]
    small = actual.lower() if isinstance(actual, str) else actual
    if operator in ("exists", "!exists"):
        return bool(actual) == (operator == "exists")
    if isinstance(value, list):
        return (small in [one.lower() for one in value]) == (operator == "in")
    if isinstance(value, str):
        same = small == value.lower()
        return {"eq": same, "!eq": not same, "like": value.lower() in str(small or "")}[str(operator)]
    number, wanted = int(str(actual)), int(str(value))
    compared = {"eq": number == wanted, "gt": number > wanted, "gte": number >= wanted, "lt": number < wanted}
    return compared.get(str(operator), number <= wanted)


@given(filters=st.lists(st.lists(CONDITIONS, max_size=3), max_size=5), records=RECORDS)
def test_a_record_is_found_when_all_of_any_group_holds(
    filters: list[list[dict[str, object]]], records: list[Record]
) -> None:
    read = read_filters(filters, FIELDS, None)
    for record in records:
        expected = not filters or any(all(holds(item, record) for item in group) for group in filters)
        assert matches(read, partial(record.__getitem__)) == expected


@given(filters=st.lists(st.lists(CONDITIONS, max_size=2), min_size=3, max_size=5))
def test_groups_above_the_limit_are_refused_before_they_are_joined(filters: object) -> None:
    with pytest.raises(PimRefusalError):
        read_filters(filters, FIELDS, 2)
