"""Lists of entities: pages of at most 1,000, the images only where 100 or fewer are asked for (contract section 6).

What belongs here: the lists' endpoints, and paging. What does not: filters (filters.py), single entities (entities.py).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from imagesync_pipelines.sandbox.moysklad.answers import Answer, Json, answered, malformed
from imagesync_pipelines.sandbox.moysklad.filters import (
    ASSORTMENT_ORDERS,
    OF_ASSORTMENT,
    OF_TYPE,
    ORDERS,
    judge,
    ordered,
    read_filter,
    read_order,
)
from imagesync_pipelines.sandbox.moysklad.model import Entity, EntityType
from imagesync_pipelines.sandbox.moysklad.office import Ask
from imagesync_pipelines.sandbox.moysklad.rendering import APPLICATION_JSON, entity_json, shape_of

MOST_ROWS = 1000
BETA, WITHOUT_STOCK = "x-lognex-remap-beta-feature", "assortmentWithoutStock"


@dataclass(frozen=True)
class Page:
    """The rows that are asked for."""

    limit: int
    offset: int


def read_page(query: Mapping[str, str]) -> Page:
    """The page of a query: 1,000 rows when it names none."""
    limit, offset = query.get("limit", str(MOST_ROWS)), query.get("offset", "0")
    if not limit.isdecimal() or not 1 <= int(limit) <= MOST_ROWS:
        raise malformed(f"limit должен быть от 1 до {MOST_ROWS}", "limit")
    if not offset.isdecimal():
        raise malformed("offset должен быть не меньше 0", "offset")
    return Page(int(limit), int(offset))


def window_of(url: str, row_type: str, size: int, page: Page, query: Mapping[str, str]) -> Json:
    """The `meta` of a list: its total, its page and the addresses of the pages beside it."""
    meta: Json = {
        "href": _with(url, query),
        "type": row_type,
        "mediaType": APPLICATION_JSON,
        "size": size,
        "limit": page.limit,
        "offset": page.offset,
    }
    if page.offset + page.limit < size:
        meta["nextHref"] = _with(url, {**query, "limit": str(page.limit), "offset": str(page.offset + page.limit)})
    if page.offset > 0:
        before = max(0, page.offset - page.limit)
        meta["previousHref"] = _with(url, {**query, "limit": str(page.limit), "offset": str(before)})
    return meta


def list_entities(ask: Ask) -> Answer:
    """GET /entity/{type}."""
    return _listed(ask, (ask.type,), ask.type.value, OF_TYPE[ask.type], ORDERS)


def assortment(ask: Ask) -> Answer:
    """GET /entity/assortment: products, services, bundles and variants in one; the old one can filter by article."""
    is_new = WITHOUT_STOCK in ask.headers.get(BETA, ())
    known = OF_ASSORTMENT if is_new else OF_ASSORTMENT | {"article"}
    return _listed(ask, tuple(EntityType), "assortment", known, ASSORTMENT_ORDERS)


def _listed(
    ask: Ask, types: Iterable[EntityType], name: str, known: Collection[str], orders: Collection[str]
) -> Answer:
    page = read_page(ask.query)
    shape = shape_of(ask, page.limit)
    conditions = read_filter(ask.query.get("filter", ""), known)
    order = read_order(ask.query["order"], orders) if ask.query.get("order") else []
    fits = judge(conditions)
    # Archived entities are shown to those who ask for them, or for an id.
    hides_archived = not any(condition.field in ("archived", "id") for condition in conditions)
    found = ordered((one for one in _shown(ask.account.of_types(types), hides_archived) if fits(one)), order)
    rows = [entity_json(ask.office, ask.account, one, shape) for one in found[page.offset :][: page.limit]]
    meta = window_of(f"{ask.office.root}/entity/{name}", name, len(found), page, ask.query)
    employee = {"href": f"{ask.office.root}/context/employee", "type": "employee", "mediaType": APPLICATION_JSON}
    return answered({"context": {"employee": {"meta": employee}}, "meta": meta, "rows": rows})


def _shown(entities: Iterable[Entity], hides_archived: bool) -> Iterable[Entity]:
    return (entity for entity in entities if not (hides_archived and entity.archived))


def _with(url: str, query: Mapping[str, str]) -> str:
    return f"{url}?{urlencode(query)}" if query else url
