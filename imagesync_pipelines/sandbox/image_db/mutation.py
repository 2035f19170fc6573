"""What happens to the image database over time: single changes, a script of them during a walk, a believable night."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import Moments
from imagesync_pipelines.sandbox.image_db.catalogue import ImageCatalogue
from imagesync_pipelines.sandbox.image_db.pictures import UNKNOWN_SIZE, file_id_of, pictures_of
from imagesync_pipelines.sandbox.image_db.records import UPLOAD, Record
from imagesync_pipelines.sandbox.mutation import MutationError, check, make, operators

# An upload of two days ago: whatever its export took, none of its stamps is in the future.
PAGE_SERVED = "page served"
LONGEST_EXPORT = timedelta(days=2)
TYPES = ("Produktfoto", "Szene", "Markt-Messe-Shop", "Illustration")


@dataclass(frozen=True)
class RecordMutation:
    """One change that was made: the operator, the record, and what is different now in a few words."""

    operator: str
    file_id: int | None
    detail: str


class Mutator:
    """Makes changes to one catalogue; what is not named is chosen from the seed. Safe between threads."""

    def __init__(self, catalogue: ImageCatalogue, clock: SandboxClock) -> None:
        self.catalogue, self.clock = catalogue, clock
        self.rng = Random(f"{catalogue.seed}/mutations")
        self._scripted = Moments()

    def mutate(self, operator: str, **arguments: Any) -> RecordMutation:
        """Make one change now.

        Operators and what may be named: insert(position=0), insert_record(record, position=0), delete(file_id),
        re_export(file_id), add_link(file_id, number, variant, front), remove_link(file_id, number),
        refront(file_id, number), change_type(file_id, image_type), reorder(). Raises MutationError, CatalogueError.
        """
        with self.catalogue.lock:
            return make(_OPERATORS, operator, self, **arguments)

    def after_pages(self, pages: int, operator: str, **arguments: Any) -> None:
        """Make a change as soon as so many more pages were served: during a walk, between two pages."""
        check(_OPERATORS, operator, self, **arguments)
        self._scripted.before(PAGE_SERVED, partial(self.mutate, operator, **arguments), skip=pages - 1)

    def page_served(self) -> None:
        """Called by the API after each page: makes the changes that are due."""
        self._scripted.come(PAGE_SERVED)


def _insert(bench: Mutator, position: int = 0) -> RecordMutation:
    """A new upload with its exports; in front of the table by default, so that every page moves."""
    workshop = bench.catalogue.workshop
    made = workshop.record(bench.clock.now() - LONGEST_EXPORT, UPLOAD)
    made["articles"] = made["articles"] or [workshop.link(*workshop.some_variant())]
    bench.catalogue.insert(made, position)
    return RecordMutation("insert", made["original_file"]["file_id"], f"at row {position}")


def _insert_record(bench: Mutator, record: object, position: int = 0) -> RecordMutation:
    bench.catalogue.insert(record, position)
    return RecordMutation("insert_record", file_id_of(record), f"at row {position}")


def _delete(bench: Mutator, file_id: int | None = None) -> RecordMutation:
    """A record is deleted; the first of the table by default, so that every page moves."""
    ids = [file_id] if file_id is not None else bench.catalogue.file_ids()[:1]
    if not ids:
        raise MutationError("delete: there is no record left")
    bench.catalogue.remove(ids[0])
    return RecordMutation("delete", ids[0], "gone")


def _re_export(bench: Mutator, file_id: int | None = None) -> RecordMutation:
    """New exports with new ids and URLs, the old URLs are gone; nothing else says that anything changed."""
    chosen, record = _chosen(bench, file_id, lambda found: bool(found["exported_files"]))
    tiffs = [picture for picture in pictures_of(record).values() if picture.kind == "tiff"]
    size = (tiffs[0].width, tiffs[0].height) if tiffs else UNKNOWN_SIZE
    record["exported_files"] = bench.catalogue.workshop.exports(bench.clock.now(), *size)
    record["original_file"]["is_processed"] = True
    bench.catalogue.replace(chosen, record)
    return RecordMutation("re_export", chosen, f"{len(record['exported_files'])} new exports")


def _add_link(
    bench: Mutator, file_id: int | None = None, number: str | None = None, variant: str = "BE", front: bool = False
) -> RecordMutation:
    chosen, record = _chosen(bench, file_id, lambda found: True)
    if number is None:
        linked = {link["number"] for link in record["articles"]}
        free = [row for row in bench.catalogue.products.variants if row["sku"] not in linked]
        row = bench.rng.choice(free)
        number, variant = str(row["sku"]), str(row["variant_code"])
    record["articles"].append(bench.catalogue.workshop.link(number, variant, front))
    bench.catalogue.replace(chosen, record)
    return RecordMutation("add_link", chosen, f"{number} {variant}")


def _remove_link(bench: Mutator, file_id: int | None = None, number: str | None = None) -> RecordMutation:
    """An article is taken off a record, with all repetitions of it."""
    chosen, record = _chosen(bench, file_id, lambda found: bool(found["articles"]))
    number = _linked(record, number, chosen)
    record["articles"] = [link for link in record["articles"] if link["number"] != number]
    bench.catalogue.replace(chosen, record)
    return RecordMutation("remove_link", chosen, number)


def _refront(bench: Mutator, file_id: int | None = None, number: str | None = None) -> RecordMutation:
    """The front flag of one link is turned round, in all repetitions of it."""
    chosen, record = _chosen(bench, file_id, lambda found: bool(found["articles"]))
    number = _linked(record, number, chosen)
    front = not any(link["front"] for link in record["articles"] if link["number"] == number)
    for link in record["articles"]:
        if link["number"] == number:
            link["front"] = front
    bench.catalogue.replace(chosen, record)
    return RecordMutation("refront", chosen, f"{number} front={front}".lower())


def _change_type(bench: Mutator, file_id: int | None = None, image_type: str | None = None) -> RecordMutation:
    chosen, record = _chosen(bench, file_id, lambda found: True)
    before = record["original_file"]["type"]
    after = image_type or bench.rng.choice([kind for kind in TYPES if kind != before])
    record["original_file"]["type"] = after
    bench.catalogue.replace(chosen, record)
    return RecordMutation("change_type", chosen, f"{before} -> {after}")


def _reorder(bench: Mutator) -> RecordMutation:
    """The table has another order from now on, as after a VACUUM; no record changes."""
    bench.catalogue.reorder(bench.rng)
    return RecordMutation("reorder", None, "all rows")


def _chosen(bench: Mutator, file_id: int | None, fits: Callable[[Record], bool]) -> tuple[int, Record]:
    """The named record, or one from the seed that is well-formed and fits."""
    ids = bench.catalogue.file_ids() if file_id is None else [file_id]
    for candidate in bench.rng.sample(ids, len(ids)):
        record = bench.catalogue.record(candidate)
        if is_well_formed(record) and fits(record):
            return candidate, record
    raise MutationError(
        "no record fits this change" if file_id is None else f"this change does not fit record {file_id}"
    )


def is_well_formed(record: Record) -> bool:
    """Whether an operator can work on the record: odd ones are left alone."""
    links, exports = record.get("articles"), record.get("exported_files")
    return (
        isinstance(links, list)
        and isinstance(exports, list)
        and all(isinstance(link, dict) and isinstance(link.get("number"), str) for link in links)
        and all(isinstance(export, dict) and "type" in export for export in exports)
    )


def _linked(record: Record, number: str | None, file_id: int) -> str:
    numbers = [link["number"] for link in record["articles"]]
    if number is not None and number not in numbers:
        raise MutationError(f"the record {file_id} has no link to {number}")
    return number if number is not None else str(numbers[0])


_OPERATORS = operators(
    *(_insert, _insert_record, _delete, _re_export, _add_link, _remove_link, _refront, _change_type, _reorder)
)


# Shares of all records; at least one of each. At the real size: 10, 8, 6, 4, 5, 4 and 12.
SHARES = {"re_export": 0.004, "add_link": 0.0032, "refront": 0.0024, "change_type": 0.0016, "delete": 0.002}
MOVED, INSERTED = 0.0016, 0.005


def pass_a_night(mutator: Mutator, catalogue: ImageCatalogue) -> list[RecordMutation]:
    """Change about 2 % of the records and give what was done, in order.

    Each change is to another record. At the real size 9 product images disappear (5 deleted records, 4 moved links).
    A catalogue too small for a change of every kind raises MutationError.
    """
    total, ids = len(catalogue), catalogue.file_ids()
    rng = Random(f"{catalogue.seed}/night/{total}/{sum(ids)}")
    fresh = iter(rng.sample(ids, len(ids)))
    done = [
        mutator.mutate(operator, file_id=_next(catalogue, fresh))
        for operator, share in SHARES.items()
        for _ in range(max(1, round(total * share)))
    ]
    for _ in range(max(1, round(total * MOVED))):
        file_id = _next(catalogue, fresh)
        done += [mutator.mutate("remove_link", file_id=file_id), mutator.mutate("add_link", file_id=file_id)]
    for _ in range(max(1, round(total * INSERTED))):
        done.append(mutator.mutate("insert", position=rng.randrange(len(catalogue) + 1)))
    return done


def _next(catalogue: ImageCatalogue, fresh: Iterator[int]) -> int:
    """The next record that was not touched this night and is a picture of an article."""
    for file_id in fresh:
        record = catalogue.record(file_id)
        if is_well_formed(record) and record["articles"] and record["exported_files"]:
            return file_id
    raise MutationError("the catalogue is too small for a night of changes; use at least 40 records")
