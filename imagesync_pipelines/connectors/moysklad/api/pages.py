"""What an answer holds: pages of a list, the images of what was written (contract sections 6 to 8).

What belongs here: reading answers as a whole, one row's fault not being the others'. What does not: fields (fields.py),
asking (account.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagesync_pipelines.accounts.moysklad import MatchField
from imagesync_pipelines.connectors.moysklad.api.fields import RowError, entity_of, id_of, type_of
from imagesync_pipelines.connectors.moysklad.model import Entity, ImageRow
from imagesync_pipelines.upstream.answers import Answer
from imagesync_pipelines.upstream.errors import BadAnswerError


@dataclass(frozen=True)
class AssortmentPage:
    """A page of entities. size: how many the whole list has. illegible: key to reason of rows that lack something.

    offset: place of the page in its list.
    """

    entities: tuple[Entity, ...]
    offset: int
    size: int
    illegible: Mapping[str, str] = field(default_factory=dict)


def values_of(entity: Entity, match_field: MatchField) -> tuple[str, ...]:
    """The values of the field by which entities are matched: none, one, or several barcodes."""
    if match_field == "barcode":
        return entity.barcodes
    value = {"externalCode": entity.external_code, "code": entity.code, "article": entity.article}[match_field]
    return (value,) if value else ()


def rows_of(reply: Answer) -> tuple[list[Mapping[str, Any]], int]:
    """Rows and size of a list. Raises BadAnswerError."""
    data = reply.data if isinstance(reply.data, dict) else {}
    rows, meta = data.get("rows"), data.get("meta")
    size = meta.get("size") if isinstance(meta, dict) else None
    if not isinstance(rows, list) or not isinstance(size, int) or any(not isinstance(row, dict) for row in rows):
        raise reply.error(BadAnswerError, f"HTTP {reply.status} without the list `rows` and its `meta.size`")
    return rows, size


def page_of(rows: Sequence[Mapping[str, Any]], offset: int, size: int) -> AssortmentPage:
    entities, illegible = [], {}
    for place, row in enumerate(rows, offset):
        try:
            kind = type_of(row)
            key = f"{kind}:{id_of(row)}"
        except RowError as error:
            illegible[f"row {place}"] = str(error)
            continue
        if kind is None:
            continue
        try:
            entities.append(entity_of(row))
        except RowError as error:
            illegible[key] = str(error)
    return AssortmentPage(tuple(entities), offset, size, illegible)


def images_in(element: object) -> tuple[ImageRow, ...] | None:
    """The images in the answer to a write; None where their rows were left out or cannot be read."""
    try:
        entity = entity_of(element) if isinstance(element, dict) else None
    except RowError:
        return None
    if entity is None or entity.images is None or len(entity.images) != entity.image_count:
        return None
    return entity.images
