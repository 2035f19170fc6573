"""What is worth telling of what a run, or an undo, wrote into Plytix, a child account or a store. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from imagesync_pipelines.storage.effects import Effect, EffectRow
from imagesync_pipelines.storage.subscriptions import Event
from imagesync_pipelines.sync.connector import KnownPicture, RowName
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines.upstream.addresses import web_address
from imagesync_pipelines.web.webhooks_out.rules import TARGET_TYPE, TARGETS_EVENTS, message

# Where a picture stands, of what the history keeps of it.
_PLACE = frozenset({"is_primary", "sort_order", "place", "thumbnail", "gallery", "order"})
Picture = Mapping[str, Any]


class Written(NamedTuple):
    """An image that was written: what became of it, and the picture before and after with its `key`, None for none."""

    change: str
    row: EffectRow
    old: Picture | None
    new: Picture | None


def written_by(effect: Effect) -> list[Written]:
    """The images that an effect wrote; a person's word about an image is none."""
    return [
        Written(
            _change(row),
            row,
            None if row.change == "add" else {**(row.before or {}), "key": row.key_before or row.key},
            None if row.change == "remove" else {**(row.after or {}), "key": row.key},
        )
        for row in effect.rows
        if row.change in EFFECTS
    ]


def pictures_of(written: Sequence[Written]) -> list[Picture]:
    """The pictures before and after, in order."""
    return [end for one in written for end in (one.old, one.new) if end is not None]


def _change(row: EffectRow) -> str:
    if row.change != "update":
        return {"add": "added", "remove": "removed"}[row.change]
    before, after = row.before or {}, row.after or {}
    if both := (before.keys() & after.keys()) - _PLACE:
        is_same = all(before[name] == after[name] for name in both)
    else:
        is_same = row.fingerprint_before == row.fingerprint_after
    return "moved" if is_same else "changed"


def target_event(
    effect: Effect, written: Sequence[Written], name: RowName | None, known: Sequence[KnownPicture], message_id: str
) -> Event:
    """What there is to tell of an effect that wrote these images.

    name: what people call the product, None where nobody knows. known: what is known of each of the pictures_of.
    """
    of_each = iter(known)
    changes = [
        {
            "change": one.change,
            "key": one.row.key,
            "reason": one.row.reason,
            "old": one.old and _said(one.old, one.row.position_before, next(of_each)),
            "new": one.new and _said(one.new, one.row.position, next(of_each)),
        }
        for one in written
    ]
    kinds = {f"target.{one.change}" for one in written}
    sku, at = (name.code if name else "") or effect.group, effect.at or datetime.now(UTC)
    data: dict[str, Any] = {
        "connector": effect.connector,
        "account": effect.account,
        "group": effect.group,
        "sku": sku,
        "name": name.name if name else "",
        "product_id": name.product_id if name else None,
        "events": [one for one in TARGETS_EVENTS if one in kinds],
        "run_id": effect.by.run_id,
        "undoes_run": effect.by.undoes_run,
        "changes": changes,
    }
    ends = [one for change in changes for one in (change["old"], change["new"]) if isinstance(one, dict)]
    return Event(
        message_id=message_id,
        sku=sku,
        connectors=[effect.connector],
        events=data["events"],
        addresses=list(dict.fromkeys(one["address"] for one in ends if one["address"])),
        body=message(TARGET_TYPE, at, data),
        changed_at=at,
    )


def _said(picture: Picture, place: int | None, known: KnownPicture) -> dict[str, Any]:
    return {
        "key": picture["key"],
        "sha256": known.sha256 or None,
        "address": web_address(known.address) or None,
        "position": place,
    }
