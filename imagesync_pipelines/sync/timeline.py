"""What was done, in lines for people: when, by whom, what, from what to what, and why."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from imagesync_pipelines.storage.effects import Author, Effect, EffectRow
from imagesync_pipelines.sync.connector import Connector

_WORDS = {
    "add": "added",
    "update": "changed",
    "remove": "removed",
    "allow": "allowed to go, by a person's word",
    "keep": "kept, by a person's word",
    "pin": "chosen as primary",
    "unpin": "no longer chosen as primary",
    "rule": "an article number that is this product, by a person's rule",
    "rule_ended": "an article number that is this product no longer",
    "exclude": "excluded from here, by a person's word",
    "include": "excluded from here no longer, by a person's word",
    "pin_moved": "still chosen as primary",
    "pin_dormant": "chosen as primary, should it come back",
}
# Where the targets keep what people call a picture by.
_NAMES = ("name", "filename", "asset")
Key = tuple[str, str, str]
"""An image of a target: connector, account, key."""


class Line(NamedTuple):
    """What became of one image. kind: the change; what: the same for people; before, after: the picture, '' for none.

    image: what people call it. lost: why it cannot be brought back, '' when it can. picture_before, picture_after:
    addresses of pictures where there are any.
    """

    at: datetime | None
    by: Author
    who: str
    connector: str
    account: str
    group: str
    image: str
    kind: str
    what: str
    before: str
    after: str
    why: str
    lost: str
    picture_before: str
    picture_after: str


def groups_about(
    connection: sa.Connection, connectors: Iterable[Connector], product_id: int, sku: str
) -> list[tuple[str, str]]:
    """The groups, each with its connector, that are about a product in any target."""
    return [(one.name, group) for one in connectors for group in one.groups_of(connection, product_id, sku)]


def lines_of(effects: Sequence[Effect], now: Mapping[Key, Mapping[str, Any]] | None = None) -> list[Line]:
    """Effects (the newest last) as lines, the newest first; now: what is in the targets after all of them, if known."""
    there: dict[Key, Mapping[str, Any]] = dict(now or {})
    lines: list[Line] = []
    for effect in reversed(effects):
        told = []
        for row in effect.rows:
            key = (effect.connector, effect.account, row.key)
            after = None if row.change == "remove" else row.after or there.get(key)
            told.append(_line(effect, row, row.before, after))
        for row in effect.rows:
            if row.change in ("add", "update"):
                there.pop((effect.connector, effect.account, row.key), None)
        for row in effect.rows:
            if row.change in ("update", "remove") and row.before is not None:
                there[effect.connector, effect.account, row.key_before or row.key] = row.before
        lines += told
    return lines


def who(by: Author) -> str:
    """In whose name something was done, for people."""
    run = f"run {by.run_id[:8]}" if by.run_id else ""
    undone = f"undo of run {by.undoes_run[:8]}" if by.undoes_run else ""
    return ", ".join(filter(None, (by.person or "", run, undone))) or "nobody who gave a name"


def _line(effect: Effect, row: EffectRow, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Line:
    what = _WORDS.get(row.change, row.change)
    if row.change == "primary":
        what = "no longer primary" if before is not None and before.get("is_primary") else "primary now"
    elif row.change == "update" and row.key_before not in (None, row.key):
        what = f"changed, before it was {_image(row.key_before or '')}"
    written = row.change in ("add", "update", "remove")
    places = (row.position_before, row.position) if row.position != row.position_before else (None, None)
    labels = [_label(values, place) if written else "" for values, place in zip((before, after), places, strict=True)]
    pictures = [_picture(values) if written else "" for values in (before, after)]
    return Line(
        at=effect.at,
        by=effect.by,
        who=who(effect.by),
        connector=effect.connector,
        account=effect.account,
        group=effect.group,
        image=_image(row.key),
        kind=row.change,
        what=what,
        before=labels[0],
        after=labels[1],
        why=row.reason,
        lost=row.lost or "",
        picture_before=pictures[0],
        picture_after=pictures[1],
    )


def _image(key: str) -> str:
    return key.partition("/")[2] or key


def _label(values: Mapping[str, Any] | None, place: int | None) -> str:
    """A picture by its name, size and place, as far as they are known."""
    told = values or {}
    name = next((str(told[one]) for one in _NAMES if told.get(one)), "") or _file_name(told.get("image_url") or "")
    size = f"{told['width']} × {told['height']}" if told.get("width") and told.get("height") else ""
    return ", ".join(
        filter(None, (" ".join(filter(None, (name, size))), "" if place is None else f"place {place + 1}"))
    )


def _picture(values: Mapping[str, Any] | None) -> str:
    return "" if values is None else str(values.get("thumbnail_url") or values.get("image_url") or "")


def _file_name(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""
