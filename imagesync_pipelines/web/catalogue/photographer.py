"""What a photographer gets: which pictures are to be taken or mended, why, and how large they are to be.

A table, or an archive of the table and the pictures, which is given while the pictures are read: one of them is in
memory, and there are at most MOST_PICTURES.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from zipfile import ZIP_STORED, ZipFile

import sqlalchemy as sa
from anyio import to_thread

from imagesync_pipelines.imaging.derivatives import Encoding
from imagesync_pipelines.products.export_rows import snapshot
from imagesync_pipelines.products.exports import Sink, csv_of
from imagesync_pipelines.quality.queries import Asked
from imagesync_pipelines.quality.rules import TO_DO, RuleSet
from imagesync_pipelines.sync.connector import AT
from imagesync_pipelines.upstream.addresses import web_address
from imagesync_pipelines.web.catalogue.judged import Judged, all_of
from imagesync_pipelines.web.catalogue.pages.pictures import Derivatives, OriginalPicture

MOST_PICTURES = 200
TABLE, MISSING = "pictures.csv", "missing.txt"
COLUMNS = (
    *("code", "name", "connector", "account", "kind", "channel", "score", "what_is_wrong", "what_to_do"),
    *("size_now", "sizes_wanted", "picture", "file"),
)
_NO_FILE_NAME = re.compile(r"[^\w.-]+")
_SIDES = {"longer_side": "longer side", "shorter_side": "shorter side"}


def table(
    known: Mapping[str, RuleSet], batches: Iterable[Sequence[Judged]], files: Sequence[str] = ()
) -> Iterator[bytes]:
    """The table as CSV, a row for each picture. files: their names in the archive, in the same order."""
    names = iter(files)
    return csv_of(COLUMNS, ([_row(known, one, next(names, "")) for one in batch] for batch in batches))


def whole_table(engine: sa.Engine, known: Mapping[str, RuleSet], asked: Asked) -> Iterator[bytes]:
    """The table of all that is wrong, read from one moment, a batch in memory at a time."""
    with snapshot(engine) as connection:
        yield from table(known, all_of(connection, known, asked))


def _row(known: Mapping[str, RuleSet], one: Judged, file: str) -> tuple[object, ...]:
    shown, size = one.picture, one.measures
    place, rule_set = shown.place, known.get(shown.place.rule_set)
    to_do = dict.fromkeys(TO_DO[why.to_do] for why in shown.why if why.to_do)
    return (
        *(place.code, shown.name, place.connector, place.account, shown.kind),
        *(rule_set.name if rule_set is not None else place.rule_set, place.score),
        *(" ".join(why.sentence for why in shown.why), ". ".join(to_do)),
        f"{size.width} x {size.height}" if size is not None else "",
        sizes_wanted(rule_set) if rule_set is not None else "",
        *("" if shown.picture.startswith(AT) else web_address(shown.picture), file),
    )


def sizes_wanted(rule_set: RuleSet) -> str:
    """How large a picture is to be for a channel, in pixels; '' where it does not say."""
    told: dict[str, list[float]] = {}
    for rule in rule_set.rules:
        if rule.measure in _SIDES and rule.at_least is not None:
            told.setdefault(_SIDES[rule.measure], []).append(rule.at_least)
    return ", ".join(f"{side} at least {max(bounds):.0f} px" for side, bounds in told.items())


def file_names(judged: Sequence[Judged]) -> list[str]:
    """A name in the archive for the picture of each, with its code in it and no two alike."""
    return [f"{at:03d}_{_NO_FILE_NAME.sub('_', one.picture.place.code)[:80]}.jpg" for at, one in enumerate(judged, 1)]


async def archive(
    known: Mapping[str, RuleSet], judged: Sequence[Judged], derivatives: Derivatives
) -> AsyncIterator[bytes]:
    """The archive, a picture at a time: as JPEG and as large as pages show it, from the copies that are kept.

    Pictures that cannot be had now are named in a file of their own.
    """
    sink, files, missing = Sink(), file_names(judged), list[str]()
    with ZipFile(sink, "w", ZIP_STORED) as packed:
        packed.writestr(TABLE, b"".join(table(known, [judged], files)))
        yield sink.taken()
        for one, file in zip(judged, files, strict=True):
            originals = (OriginalPicture(one.picture.picture, ""),) if one.picture.picture else ()
            content = await derivatives.copy(originals, "web", Encoding.JPEG)
            body = await to_thread.run_sync(derivatives.read, content) if content is not None else None
            if body is None:
                missing.append(f"{file}: the picture of {one.picture.place.code} cannot be had at the moment")
                continue
            packed.writestr(file, body)
            yield sink.taken()
        if missing:
            packed.writestr(MISSING, "\n".join([*missing, ""]))
    yield sink.taken()
