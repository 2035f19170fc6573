"""The grammar of `filter` and `order` (docs/contracts/moysklad.md)."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import eq, ge, gt, le, lt, ne
from types import MappingProxyType

from imagesync_pipelines.sandbox.moysklad.answers import malformed, refused
from imagesync_pipelines.sandbox.moysklad.limits import MOSCOW
from imagesync_pipelines.sandbox.moysklad.model import EntityType, StockEntity

_CONDITION = re.compile(r"(?P<field>[A-Za-z]+)(?P<sign>>=|<=|!=|!~|~=|=~|=|<|>|~)(?P<value>.*)", re.DOTALL)
_SEPARATOR = re.compile(r"(?<!\\);")
_DATES = ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M")
_COMPARED = {"=": eq, "!=": ne, ">": gt, ">=": ge, "<": lt, "<=": le}
_COMPARISONS = {">": "up", ">=": "up", "<": "down", "<=": "down"}
_EQUAL, _UNEQUAL, _UPDATED = "=", "!=", "updated"

OF_ENTITIES = frozenset({"id", "updated", "name", "code", "article", "externalCode", "barcode", "archived"})
OF_TYPE: Mapping[EntityType, frozenset[str]] = MappingProxyType(
    {
        EntityType.PRODUCT: OF_ENTITIES | {"syncId"},
        EntityType.BUNDLE: OF_ENTITIES | {"syncId"},
        EntityType.VARIANT: OF_ENTITIES | {"productid"},
        EntityType.SERVICE: OF_ENTITIES - {"article"},
    }
)
OF_ASSORTMENT = frozenset({"type", "id", "externalCode", "code", "name", "updated", "archived"})
ORDERS = ("id", "updated", "name", "code", "externalCode")
ASSORTMENT_ORDERS = ("name", "code", "pathName", "article")

_VALUES: Mapping[str, Callable[[StockEntity], Collection[str]]] = MappingProxyType(
    {
        "type": lambda entity: (entity.type.value,),
        "id": lambda entity: (entity.id,),
        "name": lambda entity: (entity.name,),
        "code": lambda entity: (entity.code,),
        "article": lambda entity: (entity.article,),
        "externalCode": lambda entity: (entity.external_code,),
        "barcode": lambda entity: entity.barcodes,
        "archived": lambda entity: (str(entity.archived).lower(),),
        "syncId": lambda entity: (entity.sync_id,),
        "productid": lambda entity: (entity.product_id,),
    }
)


@dataclass(frozen=True)
class Condition:
    """One condition as written; a date is already in UTC in `at`."""

    field: str
    sign: str
    value: str
    at: datetime | None = None


Fits = Callable[[StockEntity], bool]


def read_filter(text: str, known: Collection[str]) -> tuple[Condition, ...]:
    """The conditions of `filter`; of two comparisons of one field in the same direction the first counts."""
    read: list[Condition] = []
    directions: set[tuple[str, str]] = set()
    for part in _SEPARATOR.split(text):
        if not part:
            continue
        met = _CONDITION.fullmatch(part)
        if met is None:
            raise refused(1014, "filter")
        condition = _condition(met["field"], met["sign"], re.sub(r"\\([;\\])", r"\1", met["value"]), known)
        direction = _COMPARISONS.get(condition.sign)
        if direction is not None:
            if (condition.field, direction) in directions:
                continue
            directions.add((condition.field, direction))
        read.append(condition)
    for condition in read:
        others = {one.sign for one in read if one.field == condition.field}
        if _EQUAL in others and others & set(_COMPARISONS):
            raise malformed(f"Фильтр по {condition.field}: равенство вместе со сравнением", "filter")
    return tuple(read)


def judge(conditions: Iterable[Condition]) -> Fits:
    """Whether an entity fits: equal values of one field are alternatives, everything else must hold."""
    equal: dict[str, set[str]] = {}
    others: list[Condition] = []
    for condition in conditions:
        if condition.sign == _EQUAL and condition.at is None:
            equal.setdefault(condition.field, set()).add(condition.value)
        else:
            others.append(condition)

    def fits(entity: StockEntity) -> bool:
        return all(not values.isdisjoint(_VALUES[field](entity)) for field, values in equal.items()) and all(
            _holds(entity, condition) for condition in others
        )

    return fits


def read_order(text: str, known: Collection[str]) -> list[tuple[str, bool]]:
    """The fields of `order` and whether each goes down."""
    read = []
    for part in text.split(";"):
        name, _, direction = part.partition(",")
        if name not in known or direction not in ("", "asc", "desc"):
            raise malformed(f"Сортировка по {part} не поддерживается", "order")
        read.append((name, direction == "desc"))
    return read


def ordered(entities: Iterable[StockEntity], order: Iterable[tuple[str, bool]]) -> list[StockEntity]:
    """The entities in an order; without one they are oldest first."""
    rows = list(entities)
    for name, down in reversed(list(order)):
        rows.sort(key=lambda entity: _sort_key(entity, name), reverse=down)
    return rows


def _condition(field: str, sign: str, value: str, known: Collection[str]) -> Condition:
    if field not in known:
        raise malformed(f"Фильтрация по полю {field} не поддерживается", "filter")
    if field == _UPDATED:
        if sign not in (_EQUAL, _UNEQUAL, *_COMPARISONS):
            raise refused(1014, "filter")
        return Condition(field, sign, value, _date(value))
    if sign in _COMPARISONS:
        raise refused(1014, "filter")
    if field == "type" and value not in list(EntityType):
        raise refused(1014, "filter")
    return Condition(field, sign, value)


def _date(text: str) -> datetime:
    for written in _DATES:
        try:
            return datetime.strptime(text, written).replace(tzinfo=MOSCOW)
        except ValueError:
            continue
    raise refused(1035, "filter")


def _holds(entity: StockEntity, condition: Condition) -> bool:
    if condition.at is not None:
        # What is shown has milliseconds; what is compared is what is shown.
        shown = entity.updated - timedelta(microseconds=entity.updated.microsecond % 1000)
        return bool(_COMPARED[condition.sign](shown, condition.at))
    if condition.sign == _UNEQUAL:
        return condition.value not in _VALUES[condition.field](entity)
    values, wanted = [value.lower() for value in _VALUES[condition.field](entity)], condition.value.lower()
    if condition.sign == "!~":
        return not any(wanted in value for value in values)
    if condition.sign == "~=":
        return any(value.startswith(wanted) for value in values)
    if condition.sign == "=~":
        return any(value.endswith(wanted) for value in values)
    return any(wanted in value for value in values)


def _sort_key(entity: StockEntity, name: str) -> str:
    if name == _UPDATED:
        return entity.updated.isoformat(timespec="microseconds")
    if name == "pathName":
        return ""
    return next(iter(_VALUES[name](entity)), "")
