"""The same picture in several places: found among what was measured, suggested to people, dismissed by them.

Nothing is merged and no target is changed: a suggestion is a sentence.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.quality.storing import measures_of
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.facts import Measures
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_alike, picture_measure
from imagesync_pipelines.sync.steps import Progress, silent

if TYPE_CHECKING:
    from imagesync_pipelines.quality.comparing import Contents

COMPARED_BY = "1"
"""Another one: all contents are compared again."""
NEAREST = 10
"""A content is put beside so many others at most that show the same picture."""
_AT_ONCE, _PAIRS_AT_ONCE, _PLACES_TOLD = 500, 1_000, 3
# A picture that says that there is none stands on very many products: so many of its places a run and a page look at.
_PLACES_OF_RUN, _PLACES_OF_PAGE = 10_000, 200
# So much more pixels or sharpness is better; less may be the way that it was measured.
_LARGER, _SHARPER = 1.44, 1.25

_shown, _measure, _pair = channel_picture.c, picture_measure.c, picture_alike.c
_IS_NEW = _measure.compared != _measure.measured_by + "/" + COMPARED_BY


class Kind(StrEnum):
    """What is suggested because two places show the same picture."""

    VARIANTS = "variants"
    PRODUCTS = "products"
    BETTER_COPY = "better_copy"
    WORDS = "words"


KINDS: Mapping[Kind, str] = {
    Kind.VARIANTS: N_("The same picture on several variants"),
    Kind.PRODUCTS: N_("The same picture on different products"),
    Kind.BETTER_COPY: N_("A better copy of the picture is known"),
    Kind.WORDS: N_("Words or a watermark on one copy only"),
}
"""The kinds as people read them."""


class Where(NamedTuple):
    """Where a picture is shown. family: the id of our product's parent, or its own; is_parent: it is that parent."""

    connector: str
    account: str
    code: str
    name: str
    is_main: bool
    product_id: int | None
    picture: str
    family: int | None
    is_parent: bool


@dataclass(frozen=True)
class Copy:
    """A content, and where it is shown, first first of all; is_cut: there are more places than these."""

    measures: Measures
    places: tuple[Where, ...]
    is_cut: bool = False


@dataclass(frozen=True)
class Suggestion:
    """What is said of two contents that show the same picture; here is there where it is one, on several products."""

    kind: Kind
    sentence: str
    here: Copy
    there: Copy
    distance: int
    found_at: datetime
    dismissed_by: str | None = None
    dismissed_at: datetime | None = None

    @property
    def sha256(self) -> str:
        """Of the one content."""
        return self.here.measures.sha256

    @property
    def other_sha256(self) -> str:
        """Of the other one."""
        return self.there.measures.sha256


class Page(NamedTuple):
    """Where a page of suggestions ended."""

    found_at: datetime
    sha256: str
    other_sha256: str


@dataclass(frozen=True)
class Found:
    """What came of a run: contents that were compared, plain ones among them, and pairs that suggest something."""

    compared: int = 0
    plain: int = 0
    suggested: int = 0


def find_alike(engine: sa.Engine, progress: Progress = silent) -> Found:
    """Compare contents that are new with all others, and note what is suggested as things stand now.

    Each portion is written by itself: a run that is killed goes on where it was. A pair that a person dismissed stays.
    """
    compared = plain = 0
    with engine.connect() as connection:
        is_due = connection.scalar(sa.select(sa.exists().where(_IS_NEW, _measure.signature != b"")))
    if is_due:
        names, is_new, contents = _read(engine)
        new = np.flatnonzero(is_new)
        known = ~is_new
        for start in range(0, len(new), _AT_ONCE):
            rows = new[start : start + _AT_ONCE]
            pairs = []
            for row in rows.tolist():
                pairs += contents.same_as(row, known, NEAREST)
                known[row] = True
            called = [(names[one.row].decode(), names[one.other].decode(), one.distance) for one in pairs]
            _write(engine, [name.decode() for name in names[rows]], called)
            compared, plain = compared + len(rows), plain + int(contents.is_plain[rows].sum())
            progress(languages.told("pictures compared"), compared, len(new))
    return Found(compared, plain, _suggest(engine))


def _read(engine: sa.Engine) -> tuple[np.ndarray, np.ndarray, "Contents"]:
    """The SHA-256 of all contents, which of them are new, and what they are compared by."""
    # Who reads suggestions needs no decoder.
    from imagesync_pipelines.imaging.signatures import SIGNATURE_BYTES
    from imagesync_pipelines.quality.comparing import Contents

    # Of a version that measures otherwise: until it is measured anew.
    has_one = sa.func.length(_measure.signature) == SIGNATURE_BYTES
    query = sa.select(_measure.sha256, _IS_NEW, _measure.hash, _measure.signature).where(has_one)
    with engine.connect() as connection:
        # What is measured meanwhile is compared the next time.
        count = connection.scalar(sa.select(sa.func.count()).select_from(picture_measure).where(has_one)) or 0
        names, is_new, hashes = np.empty(count, "S64"), np.empty(count, bool), np.empty(count, np.int64)
        signatures, filled = np.empty((count, SIGNATURE_BYTES), np.uint8), 0
        found = connection.execution_options(yield_per=10_000).execute(query.limit(count))
        for rows in found.partitions():
            sha256s, news, bits, bodies = zip(*rows, strict=True)
            here = slice(filled, filled := filled + len(rows))
            names[here], is_new[here], hashes[here] = sha256s, news, bits
            signatures[here] = np.frombuffer(b"".join(bodies), np.uint8).reshape(-1, SIGNATURE_BYTES)
    return names[:filled], is_new[:filled], Contents(hashes[:filled].view(np.uint64), signatures[:filled])


def _write(engine: sa.Engine, mine: Sequence[str], pairs: Sequence[tuple[str, str, int]]) -> None:
    """Keep the pairs of contents that were compared now; pairs of theirs from before that are none any more go."""
    rows = [
        {"sha256": min(one, other), "other_sha256": max(one, other), "distance": distance}
        for one, other, distance in pairs
    ]
    old = sa.or_(among(_pair.sha256, mine), among(_pair.other_sha256, mine))
    compared = picture_measure.update().where(among(_measure.sha256, mine))
    with engine.begin() as connection:
        connection.execute(
            picture_alike.delete().where(old, _pair.sha256 != _pair.other_sha256, _pair.dismissed_at.is_(None))
        )
        if rows:
            connection.execute(insert(picture_alike).on_conflict_do_nothing(), rows)
        connection.execute(compared.values(compared=_measure.measured_by + "/" + COMPARED_BY))


def _suggest(engine: sa.Engine) -> int:
    """Note what each pair suggests as things stand now; gives how many suggest something."""
    mains = sa.select(_shown.sha256, _shown.sha256, sa.literal(0)).where(_shown.is_main, _shown.sha256 != "")
    mains = mains.where(sa.exists().where(_measure.sha256 == _shown.sha256))
    several = mains.group_by(_shown.sha256).having(sa.func.count(sa.distinct(_shown.code)) > 1)
    new = insert(picture_alike).from_select(["sha256", "other_sha256", "distance"], several).on_conflict_do_nothing()
    with engine.begin() as connection:
        connection.execute(new)
    last, suggested = ("", ""), 0
    key = sa.tuple_(_pair.sha256, _pair.other_sha256)
    while True:
        query = sa.select(picture_alike).where(key > sa.tuple_(*map(sa.literal, last))).order_by(key)
        with engine.begin() as connection:
            rows = connection.execute(query.limit(_PAIRS_AT_ONCE)).all()
            other = []
            for row, one, copy in _with_copies(connection, rows, _PLACES_OF_RUN):
                kinds = [kind.value for kind, _ in suggested_by(one, copy)] if one and copy else []
                suggested += bool(kinds) and row.dismissed_at is None
                if kinds != row.kinds:
                    other.append({"its": row.sha256, "others": row.other_sha256, "kinds": kinds})
            mine = (_pair.sha256 == sa.bindparam("its"), _pair.other_sha256 == sa.bindparam("others"))
            if other:
                connection.execute(picture_alike.update().where(*mine), other)
        if len(rows) < _PAIRS_AT_ONCE:
            return suggested
        last = rows[-1].sha256, rows[-1].other_sha256


def _with_copies(
    connection: sa.Connection, rows: Sequence[sa.Row], most: int
) -> Iterator[tuple[sa.Row, Copy | None, Copy | None]]:
    """Pairs with both of their copies; None: it was not measured, or is shown nowhere. most: so many places of each."""
    names = {name for row in rows for name in (row.sha256, row.other_sha256)}
    measures, places = measures_of(connection, names), dict[str, list[Where]]()
    family = sa.func.coalesce(product.c.parent_id, product.c.id)
    order = (_shown.is_main.desc(), _shown.code, _shown.connector, _shown.account, _shown.key)
    number = sa.func.row_number().over(partition_by=_shown.sha256, order_by=order).label("number")
    numbered = sa.select(channel_picture, number).where(among(_shown.sha256, names)).subquery()
    columns = (*(numbered.c[name] for name in Where._fields[:7]), family, product.c.kind == "parent")
    query = sa.select(numbered.c.sha256, *columns).outerjoin_from(
        numbered, product, product.c.id == numbered.c.product_id
    )
    for sha256, *place in connection.execute(query.where(numbered.c.number <= most + 1).order_by(numbered.c.number)):
        places.setdefault(sha256, []).append(Where._make([*place[:8], bool(place[8])]))
    copies = {
        name: Copy(one, tuple(places[name][:most]), len(places[name]) > most)
        for name, one in measures.items()
        if name in places
    }
    return ((row, copies.get(row.sha256), copies.get(row.other_sha256)) for row in rows)


def suggested_by(one: Copy, other: Copy) -> list[tuple[Kind, str]]:
    """What two copies of the same picture suggest, each with a sentence. one is other: a content in several places."""
    mains = [place for copy in ((one,) if one is other else (one, other)) for place in copy.places if place.is_main]
    families: dict[int | None, list[Where]] = {}
    for place in mains:
        families.setdefault(place.family, []).append(place)
    is_cut, found = one.is_cut or other.is_cut, list[tuple[Kind, str]]()
    variants = [place for place in mains if any(_are_variants(place, another) for another in families[place.family])]
    if told := _told(variants, is_cut):
        found.append(
            (
                Kind.VARIANTS,
                languages.told(f"The same picture stands on several variants: {told}. Does it show each of them?"),
            )
        )
    others = [place for place in mains if any(_are_others(place, another) for another in _beside(place, families))]
    if told := _told(others, is_cut):
        found.append(
            (
                Kind.PRODUCTS,
                languages.told(f"The same picture stands on different products: {told}. Is it right for each?"),
            )
        )
    if one is not other:
        for better, worse in ((one, other), (other, one)):
            found += _of_copies(better, worse)
    return found


def _beside(place: Where, families: Mapping[int | None, Sequence[Where]]) -> Iterator[Where]:
    """Places that are not of the same family; the first of them is another product nearly always."""
    return (
        another for family, places in families.items() if family is None or family != place.family for another in places
    )


def _of_copies(better: Copy, worse: Copy) -> Iterator[tuple[Kind, str]]:
    """What is said where the first copy is better than the second, which is the main picture of something."""
    main = _told([place for place in worse.places if place.is_main], worse.is_cut)
    if not main:
        return
    good, bad = better.measures, worse.measures
    there = _told(better.places, better.is_cut)
    only = sorted(set(bad.words or ()) - set(good.words or ()))
    if only and good.words is not None:
        yield (
            Kind.WORDS,
            languages.told(f"On {main} are words that the copy on {there} has not: {', '.join(only[:5])}."),
        )
    size, instead_of = good.width * good.height, bad.width * bad.height
    if size < instead_of:
        return
    why = []
    if size >= _LARGER * instead_of:
        why.append(languages.told(f"larger ({good.width} x {good.height} instead of {bad.width} x {bad.height})"))
    if good.sharpness >= _SHARPER * bad.sharpness:
        why.append(languages.told(f"sharper ({good.sharpness:.2f} instead of {bad.sharpness:.2f})"))
    if only and good.words == ():
        why.append(languages.told("without the words"))
    if why and set(good.words or ()) <= set(bad.words or ()):
        unread = (
            ""
            if good.words is not None and bad.words is not None
            else languages.told(" Nobody looked for words in both.")
        )
        yield (
            Kind.BETTER_COPY,
            languages.told(f"The copy on {there} is better than that on {main}: {', '.join(why)}.{unread}"),
        )


def _is_same_product(one: Where, other: Where) -> bool:
    return one.code == other.code or (one.product_id is not None and one.product_id == other.product_id)


def _are_variants(one: Where, other: Where) -> bool:
    """Whether these are two variants of one product of ours."""
    are_siblings = one.family is not None and one.family == other.family
    return are_siblings and not _is_same_product(one, other) and not (one.is_parent or other.is_parent)


def _are_others(one: Where, other: Where) -> bool:
    """Whether these are different products; a variant and its parent are one."""
    are_family = one.family is not None and one.family == other.family
    return not are_family and not _is_same_product(one, other)


def _told(places: Sequence[Where], is_cut: bool) -> str:
    named = dict.fromkeys(f"{place.code} ({' '.join(filter(None, place[:2]))})" for place in places)
    rest = len(named) - _PLACES_TOLD
    first = ", ".join(list(named)[:_PLACES_TOLD])
    if rest <= 0:
        return first
    if is_cut:
        return languages.told(f"{first} and more than {rest} more")
    return languages.told(f"{first} and {rest} more")


def suggestions(
    connection: sa.Connection,
    kind: Kind | None = None,
    after: Page | None = None,
    limit: int = 50,
    *,
    dismissed: bool = False,
) -> tuple[list[Suggestion], Page | None]:
    """What is suggested, the newest first, and where the next page begins: None after the last.

    kind: this one alone. dismissed: what people dismissed instead. All of a pair come on one page, which may be longer.
    """
    found: list[Suggestion] = []
    key = sa.tuple_(_pair.found_at, _pair.sha256, _pair.other_sha256)
    columns = (_pair.found_at.desc(), _pair.sha256.desc(), _pair.other_sha256.desc())
    query = sa.select(picture_alike).where(_pair.kinds != sa.text("'{}'::text[]")).order_by(*columns)
    query = query.where(_pair.dismissed_at.is_not(None) if dismissed else _pair.dismissed_at.is_(None))
    if kind is not None:
        query = query.where(_pair.kinds.op("@>")(sa.cast([kind.value], sa.ARRAY(sa.Text))))
    while True:
        page = query if after is None else query.where(key < sa.tuple_(*map(sa.literal, after)))
        rows = connection.execute(page.limit(limit)).all()
        for row, one, other in _with_copies(connection, rows, _PLACES_OF_PAGE):
            if one is None or other is None:
                continue
            other = one if row.sha256 == row.other_sha256 else other
            about = row.distance, row.found_at, row.dismissed_by, row.dismissed_at
            said = suggested_by(one, other)
            found += [Suggestion(which, text, one, other, *about) for which, text in said if kind in (None, which)]
            after = Page(row.found_at, row.sha256, row.other_sha256)
            if len(found) >= limit:
                return found, after
        if len(rows) < limit:
            return found, None
        after = Page(rows[-1].found_at, rows[-1].sha256, rows[-1].other_sha256)


def dismiss(connection: sa.Connection, sha256: str, other_sha256: str, who: str) -> bool:
    """Dismiss what is suggested of two contents, in a person's name; it stays so until one of them is another one.

    False: there is no such pair, or somebody dismissed it before, which stays as it is.
    """
    one, other = sorted((sha256, other_sha256))
    mine = (_pair.sha256 == one, _pair.other_sha256 == other, _pair.dismissed_at.is_(None))
    said = picture_alike.update().where(*mine).values(dismissed_by=who, dismissed_at=sa.func.now())
    return connection.execute(said).rowcount == 1


def restore(connection: sa.Connection, sha256: str, other_sha256: str) -> bool:
    """Suggest again what somebody dismissed of two contents. False: nobody did, or there is no such pair."""
    one, other = sorted((sha256, other_sha256))
    mine = (_pair.sha256 == one, _pair.other_sha256 == other, _pair.dismissed_at.is_not(None))
    said = picture_alike.update().where(*mine).values(dismissed_by=None, dismissed_at=None)
    return connection.execute(said).rowcount == 1
