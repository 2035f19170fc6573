"""What happens to the image database over time: uploads, deletions, re-exports, links that come, go and turn.

What belongs here: one operator per kind of change, and a script that does them during a walk. What does not: the
shape of a record (records.py), a whole night of changes (night.py).
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from random import Random
from typing import Any

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.image_db.catalogue import Catalogue
from imagesync_pipelines.sandbox.image_db.pictures import UNKNOWN_SIZE, file_id_of, pictures_of
from imagesync_pipelines.sandbox.image_db.records import UPLOAD, Record

# An upload of two days ago: whatever its export took, none of its stamps is in the future.
LONGEST_EXPORT = timedelta(days=2)
TYPES = ("Produktfoto", "Szene", "Markt-Messe-Shop", "Illustration")


class MutationError(Exception):
    """A change cannot be made; the message says which and why."""


@dataclass(frozen=True)
class Mutation:
    """One change that was made: the operator, the record, and what is different now in a few words."""

    operator: str
    file_id: int | None
    detail: str


@dataclass(frozen=True)
class _Bench:
    """What an operator works with."""

    catalogue: Catalogue
    clock: SandboxClock
    rng: Random


class Mutator:
    """Makes changes to one catalogue; what is not named is chosen from the seed. Safe between threads."""

    def __init__(self, catalogue: Catalogue, clock: SandboxClock) -> None:
        rng = Random(f"{catalogue.seed}/mutations")  # noqa: S311 - made-up changes, no secret
        self._bench = _Bench(catalogue, clock, rng)
        self._scripted: list[tuple[int, str, dict[str, Any]]] = []
        self._pages = 0
        self._lock = threading.RLock()

    def mutate(self, operator: str, **arguments: Any) -> Mutation:
        """Make one change now.

        Operators and what may be named: insert(position=0), insert_record(record, position=0), delete(file_id),
        re_export(file_id), add_link(file_id, number, variant, front), remove_link(file_id, number),
        refront(file_id, number), change_type(file_id, image_type), reorder(). Raises MutationError, CatalogueError.
        """
        self._check(operator, arguments)
        with self._lock, self._bench.catalogue.lock:
            return _OPERATORS[operator](self._bench, **arguments)

    def after_pages(self, pages: int, operator: str, **arguments: Any) -> None:
        """Make a change as soon as so many more pages were served: during a walk, between two pages."""
        self._check(operator, arguments)
        with self._lock:
            self._scripted.append((self._pages + pages, operator, arguments))

    def page_served(self) -> None:
        """Called by the API after each page: makes the changes that are due."""
        with self._lock:
            self._pages += 1
            due = [change for change in self._scripted if change[0] <= self._pages]
            self._scripted = [change for change in self._scripted if change[0] > self._pages]
            for _, operator, arguments in due:
                self.mutate(operator, **arguments)

    def _check(self, operator: str, arguments: Mapping[str, Any]) -> None:
        if operator not in _OPERATORS:
            raise MutationError(f"no operator is called {operator}; there are {', '.join(sorted(_OPERATORS))}")
        try:
            signature(_OPERATORS[operator]).bind(self._bench, **arguments)
        except TypeError as error:
            raise MutationError(f"{operator}: {error}") from error


def _insert(bench: _Bench, position: int = 0) -> Mutation:
    """A new upload with its exports; in front of the table by default, so that every page moves."""
    workshop = bench.catalogue.workshop
    made = workshop.record(bench.clock.now() - LONGEST_EXPORT, UPLOAD)
    made["articles"] = made["articles"] or [workshop.link(*workshop.some_variant())]
    bench.catalogue.insert(made, position)
    return Mutation("insert", made["original_file"]["file_id"], f"at row {position}")


def _insert_record(bench: _Bench, record: object, position: int = 0) -> Mutation:
    """The given record, odd or not, null too."""
    bench.catalogue.insert(record, position)
    return Mutation("insert_record", file_id_of(record), f"at row {position}")


def _delete(bench: _Bench, file_id: int | None = None) -> Mutation:
    """A record is deleted; the first of the table by default, so that every page moves."""
    ids = [file_id] if file_id is not None else bench.catalogue.file_ids()[:1]
    if not ids:
        raise MutationError("delete: there is no record left")
    bench.catalogue.remove(ids[0])
    return Mutation("delete", ids[0], "gone")


def _re_export(bench: _Bench, file_id: int | None = None) -> Mutation:
    """New exports with new ids and URLs, the old URLs are gone; nothing else says that anything changed."""
    chosen, record = _chosen(bench, file_id, lambda found: bool(found["exported_files"]))
    tiffs = [picture for picture in pictures_of(record).values() if picture.kind == "tiff"]
    size = (tiffs[0].width, tiffs[0].height) if tiffs else UNKNOWN_SIZE
    record["exported_files"] = bench.catalogue.workshop.exports(bench.clock.now(), *size)
    record["original_file"]["is_processed"] = True
    bench.catalogue.replace(chosen, record)
    return Mutation("re_export", chosen, f"{len(record['exported_files'])} new exports")


def _add_link(
    bench: _Bench, file_id: int | None = None, number: str | None = None, variant: str = "BE", front: bool = False
) -> Mutation:
    """One more article on a record; a variant of the ERP by default."""
    chosen, record = _chosen(bench, file_id, lambda found: True)
    if number is None:
        linked = {link["number"] for link in record["articles"]}
        free = [row for row in bench.catalogue.products.variants if row["sku"] not in linked]
        row = bench.rng.choice(free)
        number, variant = str(row["sku"]), str(row["variant_code"])
    record["articles"].append(bench.catalogue.workshop.link(number, variant, front))
    bench.catalogue.replace(chosen, record)
    return Mutation("add_link", chosen, f"{number} {variant}")


def _remove_link(bench: _Bench, file_id: int | None = None, number: str | None = None) -> Mutation:
    """An article is taken off a record, with all repetitions of it."""
    chosen, record = _chosen(bench, file_id, lambda found: bool(found["articles"]))
    number = _linked(record, number, chosen)
    record["articles"] = [link for link in record["articles"] if link["number"] != number]
    bench.catalogue.replace(chosen, record)
    return Mutation("remove_link", chosen, number)


def _refront(bench: _Bench, file_id: int | None = None, number: str | None = None) -> Mutation:
    """The front flag of one link is turned round, in all repetitions of it."""
    chosen, record = _chosen(bench, file_id, lambda found: bool(found["articles"]))
    number = _linked(record, number, chosen)
    front = not any(link["front"] for link in record["articles"] if link["number"] == number)
    for link in record["articles"]:
        if link["number"] == number:
            link["front"] = front
    bench.catalogue.replace(chosen, record)
    return Mutation("refront", chosen, f"{number} front={front}".lower())


def _change_type(bench: _Bench, file_id: int | None = None, image_type: str | None = None) -> Mutation:
    """The record gets another type."""
    chosen, record = _chosen(bench, file_id, lambda found: True)
    before = record["original_file"]["type"]
    after = image_type or bench.rng.choice([kind for kind in TYPES if kind != before])
    record["original_file"]["type"] = after
    bench.catalogue.replace(chosen, record)
    return Mutation("change_type", chosen, f"{before} -> {after}")


def _reorder(bench: _Bench) -> Mutation:
    """The table has another order from now on, as after a VACUUM; no record changes."""
    bench.catalogue.reorder(bench.rng)
    return Mutation("reorder", None, "all rows")


def _chosen(bench: _Bench, file_id: int | None, fits: Callable[[Record], bool]) -> tuple[int, Record]:
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


_OPERATORS: Mapping[str, Callable[..., Mutation]] = {
    "insert": _insert,
    "insert_record": _insert_record,
    "delete": _delete,
    "re_export": _re_export,
    "add_link": _add_link,
    "remove_link": _remove_link,
    "refront": _refront,
    "change_type": _change_type,
    "reorder": _reorder,
}
