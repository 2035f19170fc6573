"""What pages and the command line show of a plan of a child account: names of its entities, pictures of its rows."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.moysklad.child import records_of
from imagesync_pipelines.connectors.moysklad.model import UNKNOWN_SIZE, Managed
from imagesync_pipelines.connectors.moysklad.planning import tasks_of
from imagesync_pipelines.connectors.moysklad.reading import entities_of
from imagesync_pipelines.connectors.moysklad.rules import row_keys, source_of
from imagesync_pipelines.products.showing import names_of_skus
from imagesync_pipelines.storage.contents import Contents, kept_picture
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.plans import PAYLOAD, PlanHeader, Plans
from imagesync_pipelines.storage.quarantine import QuarantineEntry
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map
from imagesync_pipelines.sync.connector import PastPicture, RowName, RowPictures

KILOBYTE = 1000


def names_of(engine: sa.Engine, account: str, groups: Collection[str]) -> dict[str, RowName]:
    """Code and name of entities as the main account has them; our product is the one whose SKU both have."""
    card = moysklad_entity_map.c
    mine = (card.child == account) & among(card.entity_key, groups)
    with engine.connect() as connection:
        entities = entities_of(connection, sorted(groups))
        values = {row.entity_key: row.value for row in connection.execute(sa.select(moysklad_entity_map).where(mine))}
    ours = names_of_skus(engine, account, set(values.values()))
    found = {}
    for entity in entities:
        product = ours.get(values.get(entity.key, ""))
        found[entity.key] = RowName(
            product.product_id if product else None, entity.code or entity.article or entity.external_code, entity.name
        )
    return found


def again(entries: Sequence[QuarantineEntry]) -> dict[str, Any]:
    """The entity of quarantined items; the whole account where they are of several, or of none."""
    entities = {(entry.group or "").partition(":")[2] for entry in entries}
    return {"entity": only} if len(entities) == 1 and (only := entities.pop()) else {}


def pictures_of(
    engine: sa.Engine, storage: UPath, header: PlanHeader, rows: Sequence[Mapping[str, Any]]
) -> list[RowPictures]:
    """The pictures whose content is kept, and those that МойСклад gives without a call of its API.

    What was there before is told of a plan that was not applied.
    """
    groups = {str(row["group"]) for row in rows}
    payload = Plans(engine, storage).need_payload(header.id) if PAYLOAD in header.files else None
    tasks = {} if payload is None else tasks_of(payload[payload["group"].isin(groups)])
    wanted = {image.key: image for task in tasks.values() for image in task.images}
    there: dict[str, Managed] = {}
    if header.applied_at is None and header.begun_run is None:
        for group, record in records_of(engine, str(header.scope.get("account", "")), groups).items():
            there |= dict(zip(row_keys(group, record.images), record.images, strict=True))
    hashes = {one.sha256 for one in wanted.values() if one.sha256}
    back = Contents(engine, storage).find_bytes(hashes) if hashes else {}
    named = {*(one.source for one in wanted.values()), *(one.source for one in there.values())}
    sources = {source_of(one) for one in named if one}
    contents = Contents(engine, storage).find(sources)
    kept = {source: kept_picture(one) for source, one in contents.items()}
    shown = []
    for row in rows:
        key, is_added, is_removed = str(row["key"]), row["change"] == "add", row["change"] == "remove"
        new, old = wanted.get(key), there.get(str(row["key_before"]) if isinstance(row["key_before"], str) else key)
        after = ""
        if new is not None and not is_removed:
            after = kept.get(source_of(new.source), new.permanent_href)
            after = kept_picture(back[new.sha256]) if new.sha256 in back else after
        before = kept.get(source_of(old.source), "") if old is not None and not is_added else ""
        of = old if new is None or is_removed else new
        size = UNKNOWN_SIZE if of is None else of.size
        if of is not None and size == UNKNOWN_SIZE and (content := contents.get(source_of(of.source))):
            size = content.size
        name = (new.filename if new is not None else "") or (old.filename if old is not None else "")
        words = "" if size == UNKNOWN_SIZE else f"{size / KILOBYTE:,.0f} kB"
        shown.append(RowPictures(name or key.partition("#")[2], before, after, words))
    return shown


def past_of(engine: sa.Engine, storage: UPath, account: str, pictures: Sequence[PastPicture]) -> list[str]:
    """Pictures of the past whose content is kept."""
    hashes = [str(one.values.get("sha256") or "") for one in pictures]
    kept = Contents(engine, storage).find_bytes({one for one in hashes if one})
    return [kept_picture(kept[one]) if one in kept else "" for one in hashes]
