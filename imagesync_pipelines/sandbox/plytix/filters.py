"""The filter language of Plytix's searches: an OR of ANDs of field, operator and value (contract sections 5.5 and 6).

What belongs here: reading filters and judging one record by them. What does not: which fields a search knows and its
answer (searches.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imagesync_pipelines.sandbox.plytix.answers import schema_error

UNARY = frozenset({"exists", "!exists"})
TEXT = frozenset({"exists", "!exists", "eq", "!eq", "like"})
LISTED = frozenset({"in", "!in"})
ORDERED = frozenset({"eq", "gt", "gte", "lt", "lte"})
UNDECODABLE = ("filters", "Unable to decode filters properly")

# The operators that a field knows, by the field's name.
Fields = Mapping[str, frozenset[str]]
Value = Callable[[str], Any]


@dataclass(frozen=True)
class Condition:
    """One `field operator value`; texts are lower case already, because Plytix ignores case."""

    field: str
    operator: str
    value: Any


Filters = tuple[tuple[Condition, ...], ...]


def read_filters(filters: object, fields: Fields, groups_most: int | None) -> Filters:
    """The filters of a body, or the 422 that names what is wrong."""
    if not isinstance(filters, list) or not all(isinstance(group, list) for group in filters):
        raise schema_error(UNDECODABLE)
    if groups_most is not None and len(filters) > groups_most:
        raise schema_error(("filters", f"at most {groups_most} groups"), UNDECODABLE)
    return _joined(tuple(tuple(_condition(one, fields) for one in group) for group in filters), fields)


def matches(filters: Filters, value: Value) -> bool:
    """Whether a record is found; `value` gives its fields. No filters find everything."""
    return not filters or any(all(_holds(one, value(one.field)) for one in group) for group in filters)


def _joined(filters: Filters, fields: Fields) -> Filters:
    """The same filters, where many names asked for one by one are one list: a search looks at every record."""
    texts: dict[str, set[Any]] = {}
    others = []
    for group in filters:
        if len(group) == 1 and group[0].operator == "eq" and not fields[group[0].field] >= ORDERED:
            texts.setdefault(group[0].field, set()).add(group[0].value)
        else:
            others.append(group)
    return (*others, *((Condition(field, "in", frozenset(values)),) for field, values in texts.items()))


def _condition(item: object, fields: Fields) -> Condition:
    if not isinstance(item, dict):
        raise schema_error(UNDECODABLE)
    name, operator = item.get("field"), item.get("operator")
    if not isinstance(name, str) or name not in fields:
        raise schema_error((str(name), "unknown field"), UNDECODABLE)
    if not isinstance(operator, str) or operator not in fields[name]:
        raise schema_error((name, f"unknown operator {operator}"), UNDECODABLE)
    if operator in UNARY:
        return Condition(name, operator, None)
    value = item.get("value")
    if operator in LISTED:
        if not isinstance(value, list) or not all(isinstance(one, str | int | float) for one in value):
            raise schema_error((name, "value is a list"), UNDECODABLE)
        return Condition(name, operator, frozenset(_folded(one) for one in value))
    if not isinstance(value, str | int | float):
        raise schema_error((name, "value is missing"), UNDECODABLE)
    return Condition(name, operator, _folded(value))


def _holds(condition: Condition, actual: Any) -> bool:
    operator, wanted = condition.operator, condition.value
    if operator in UNARY:
        return (actual not in (None, "", [])) == (operator == "exists")
    if isinstance(actual, datetime):
        actual, wanted = actual.replace(tzinfo=None), _moment(condition)
    actual = _folded(actual)
    if operator in LISTED:
        return (actual in wanted) == (operator == "in")
    if operator == "like":
        return str(wanted) in str(actual or "")
    if operator in ("eq", "!eq"):
        return bool(actual == wanted) == (operator == "eq")
    return _compared(operator, actual, wanted)


def _compared(operator: str, actual: Any, wanted: Any) -> bool:
    if isinstance(actual, str) != isinstance(wanted, str):
        return False
    return bool(
        {
            "gt": lambda: actual > wanted,
            "gte": lambda: actual >= wanted,
            "lt": lambda: actual < wanted,
            "lte": lambda: actual <= wanted,
        }[operator]()
    )


def _moment(condition: Condition) -> datetime:
    try:
        return datetime.fromisoformat(str(condition.value)).replace(tzinfo=None)
    except ValueError as error:
        raise schema_error((condition.field, "not a date"), UNDECODABLE) from error


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value
