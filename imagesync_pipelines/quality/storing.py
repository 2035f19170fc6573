"""What was measured of pictures, as it is kept: each content once, by its SHA-256."""

from collections.abc import Collection, Sequence
from dataclasses import fields

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.facts import Measures
from imagesync_pipelines.storage.schema_quality import picture_measure

_NAMES = tuple(field.name for field in fields(Measures))
# A perceptual hash is 64 bits, a number of the database is signed.
_ALL_BITS = (1 << 64) - 1
_TOP_BIT = 1 << 63


def measures_of(connection: sa.Connection, sha256s: Collection[str]) -> dict[str, Measures]:
    """What was measured of contents, by their SHA-256; those that nobody measured are left out."""
    query = sa.select(picture_measure).where(among(picture_measure.c.sha256, sha256s))
    return {row["sha256"]: measures_in(row) for row in connection.execute(query).mappings()}


def put_measures(connection: sa.Connection, measures: Sequence[Measures], measured_by: str, words_by: str) -> None:
    """Keep what was measured. words_by: who looked for words; '': nobody did, and what was read before stays."""
    rows = [
        {**_written(one), "measured_by": measured_by, "words_by": words_by}
        # In one order, and no content twice.
        for _, one in sorted({one.sha256: one for one in measures}.items())
    ]
    if not rows:
        return
    new = insert(picture_measure)
    stays = () if words_by else ("words", "words_by")
    taken = {name: new.excluded[name] for name in rows[0] if name not in stays}
    values = {**taken, "measured_at": sa.func.now()}
    connection.execute(new.on_conflict_do_update(index_elements=["sha256"], set_=values), rows)


def _written(one: Measures) -> dict[str, object]:
    values = {name: getattr(one, name) for name in _NAMES}
    signed = (one.hash & _ALL_BITS) - (1 << 64 if one.hash & _TOP_BIT else 0)
    words = None if one.words is None else list(one.words)
    return {**values, "hash": signed, "touched_sides": " ".join(one.touched_sides), "words": words}


def measures_in(row: sa.RowMapping) -> Measures:
    """The measures in a row of picture_measure."""
    values = {name: row[name] for name in _NAMES}
    values["hash"] &= _ALL_BITS
    values["touched_sides"] = tuple(values["touched_sides"].split())
    values["words"] = None if values["words"] is None else tuple(values["words"])
    return Measures(**values)
