"""What was done, in lines for people: when, by whom, what, from what to what, and why."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow
from imagesync_pipelines.sync.connector import Connector, PastPicture
from imagesync_pipelines.sync.model import EFFECTS

_WORDS = {
    "add": N_("added"),
    "update": N_("changed"),
    "remove": N_("removed"),
    "allow": N_("allowed to go, by a person's word"),
    "keep": N_("kept, by a person's word"),
    "pin": N_("chosen as primary"),
    "unpin": N_("no longer chosen as primary"),
    "rule": N_("an article number that is this product, by a person's rule"),
    "rule_ended": N_("an article number that is this product no longer"),
    "exclude": N_("excluded from here, by a person's word"),
    "include": N_("excluded from here no longer, by a person's word"),
    "order": N_("first in the order that a person gave the pictures"),
    "unorder": N_("no longer first in a person's order of the pictures"),
    "pin_moved": N_("still chosen as primary"),
    "pin_dormant": N_("chosen as primary, should it come back"),
}
# Where the targets keep what people call a picture by.
_NAMES = ("name", "filename", "asset")
Key = tuple[str, str, str]
"""An image of a target: connector, account, key."""


class Line(NamedTuple):
    """What became of one image. kind: the change; what: the same for people; before, after: the picture, '' for none.

    key: the engine's; image: what people call it. lost: why it cannot be brought back, '' when it can. past_before,
    past_after: the pictures, None where there was none, or it cannot be known. picture_before, picture_after: where
    they are (with_pictures), '' where nobody keeps them.
    """

    at: datetime | None
    by: Author
    who: str
    connector: str
    account: str
    group: str
    key: str
    image: str
    kind: str
    what: str
    before: str
    after: str
    why: str
    lost: str
    past_before: PastPicture | None = None
    past_after: PastPicture | None = None
    picture_before: str = ""
    picture_after: str = ""


def groups_about(
    connection: sa.Connection, connectors: Iterable[Connector], product_id: int, sku: str
) -> list[tuple[str, str]]:
    """The groups, each with its connector, that are about a product in any target."""
    return [(one.name, group) for one in connectors for group in one.groups_of(connection, product_id, sku)]


def lines_of(effects: Sequence[Effect], now: Mapping[Key, Mapping[str, Any]] | None = None) -> list[Line]:
    """Effects (the newest last) as lines, the newest first; now: what is in the targets after all of them, if known."""
    there: dict[Key, Mapping[str, Any]] = dict(now or {})
    changed_later: set[Key] = set()
    lines: list[Line] = []
    for effect in reversed(effects):
        told = []
        for row in effect.rows:
            key = (effect.connector, effect.account, row.key)
            after = None if row.change == "remove" else row.after or there.get(key)
            told.append(_line(effect, row, row.before, after, there.get(key), is_last=key not in changed_later))
        for row in effect.rows:
            if row.change in EFFECTS:
                keys = {row.key, row.key_before or row.key}
                changed_later |= {(effect.connector, effect.account, one) for one in keys}
            if row.change in ("add", "update"):
                there.pop((effect.connector, effect.account, row.key), None)
        for row in effect.rows:
            if row.change in ("update", "remove") and row.before is not None:
                there[effect.connector, effect.account, row.key_before or row.key] = row.before
        lines += told
    return lines


def called(effects: Sequence[Effect], image: str) -> set[str]:
    """All that a picture is called in these effects, in any target: also before and after it was renamed."""
    names, pairs = {image}, set[tuple[str, str]]()
    for effect in effects:
        pairs |= {(_image(row.key), _image(row.key_before)) for row in effect.rows if row.key_before is not None}
    while more := {name for pair in pairs if names.intersection(pair) for name in pair} - names:
        names |= more
    return names


def with_pictures(
    engine: sa.Engine, storage: UPath, connectors: Mapping[str, Connector], lines: Sequence[Line]
) -> list[Line]:
    """Lines with the addresses of their pictures, each as its connector knows it; one that was taken out knows none."""
    asked = defaultdict[tuple[str, str], dict[int, PastPicture]](dict)
    for at, line in enumerate(lines):
        for side, picture in enumerate((line.past_before, line.past_after)):
            if picture is not None and line.connector in connectors:
                asked[line.connector, line.account][2 * at + side] = picture
    found: dict[int, str] = {}
    for (name, account), pictures in asked.items():
        shown = connectors[name].past_of(engine, storage, account, list(pictures.values()))
        found |= dict(zip(pictures, shown, strict=True))
    return [
        line._replace(picture_before=found.get(2 * at, ""), picture_after=found.get(2 * at + 1, ""))
        for at, line in enumerate(lines)
    ]


def who(by: Author) -> str:
    """In whose name something was done, for people."""
    run = languages.told(f"run {by.run_id[:8]}") if by.run_id else ""
    undone = languages.told(f"undo of run {by.undoes_run[:8]}") if by.undoes_run else ""
    return ", ".join(filter(None, (by.person or "", run, undone))) or languages.told("nobody who gave a name")


def _line(
    effect: Effect,
    row: EffectRow,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    later: Mapping[str, Any] | None,
    *,
    is_last: bool,
) -> Line:
    what = _WORDS.get(row.change, row.change)
    if row.change == "primary":
        what = (
            languages.told("no longer primary")
            if before is not None and before.get("is_primary")
            else languages.told("primary now")
        )
    elif row.change == "update" and row.key_before not in (None, row.key):
        what = languages.told(f"changed, before it was {_image(row.key_before or '')}")
    written = row.change in EFFECTS
    places = (row.position_before, row.position) if row.position != row.position_before else (None, None)
    labels = [_label(values, place) if written else "" for values, place in zip((before, after), places, strict=True)]
    if row.change in ("order", "unorder"):
        labels = [", ".join(map(_image, (values or {}).get("pictures", ()))) for values in (row.before, row.after)]
    left, came = (None, None)
    if written and before is not None:
        left = PastPicture(row.key_before or row.key, before, later, is_last, is_lost=bool(row.lost))
    if written and after is not None:
        came = PastPicture(row.key, after, later, is_last)
    return Line(
        at=effect.at,
        by=effect.by,
        who=who(effect.by),
        connector=effect.connector,
        account=effect.account,
        group=effect.group,
        key=row.key,
        image=_image(row.key),
        kind=row.change,
        what=what,
        before=labels[0],
        after=labels[1],
        why=row.reason,
        lost=row.lost or "",
        past_before=left,
        past_after=came,
    )


def _image(key: str) -> str:
    return key.partition("/")[2] or key


def _label(values: Mapping[str, Any] | None, place: int | None) -> str:
    """A picture by its name, size and place, as far as they are known."""
    told = values or {}
    name = next((str(told[one]) for one in _NAMES if told.get(one)), "") or _file_name(told.get("image_url") or "")
    size = f"{told['width']} × {told['height']}" if told.get("width") and told.get("height") else ""
    return ", ".join(
        filter(
            None, (" ".join(filter(None, (name, size))), "" if place is None else languages.told(f"place {place + 1}"))
        )
    )


def _file_name(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""
