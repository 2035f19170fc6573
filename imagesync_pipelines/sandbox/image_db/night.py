"""A believable night at the image database, for demos and end-to-end tests.

What belongs here: how much of what happens in a night. What does not: the single change (mutation.py).
"""

from collections.abc import Iterator
from random import Random

from imagesync_pipelines.sandbox.image_db.catalogue import Catalogue
from imagesync_pipelines.sandbox.image_db.mutation import Mutation, MutationError, Mutator, is_well_formed
from imagesync_pipelines.sandbox.image_db.records import Record

# Shares of all records; at least one of each. At the real size: 12, 10, 8, 6, 4, 4 and 5.
INSERTED, RE_EXPORTED, LINKED, REFRONTED, RETYPED, MOVED, DELETED = 0.005, 0.004, 0.0032, 0.0024, 0.0016, 0.0016, 0.002


def pass_a_night(mutator: Mutator, catalogue: Catalogue) -> list[Mutation]:
    """Change about 2 % of the records and give what was done, in order.

    Each change is to another record. At the real size 9 product images disappear (5 deleted records, 4 moved links).
    A catalogue too small for a change of every kind raises MutationError.
    """
    total = len(catalogue)
    ids = catalogue.file_ids()
    rng = Random(f"{catalogue.seed}/night/{total}/{sum(ids)}")  # noqa: S311 - made-up changes, no secret
    fresh = iter(rng.sample(ids, len(ids)))
    done: list[Mutation] = []
    for operator, share in (
        ("re_export", RE_EXPORTED),
        ("add_link", LINKED),
        ("refront", REFRONTED),
        ("change_type", RETYPED),
        ("delete", DELETED),
    ):
        done.extend(mutator.mutate(operator, file_id=_next(catalogue, fresh)) for _ in range(_number(total, share)))
    for _ in range(_number(total, MOVED)):
        file_id = _next(catalogue, fresh)
        done.append(mutator.mutate("remove_link", file_id=file_id))
        done.append(mutator.mutate("add_link", file_id=file_id))
    for _ in range(_number(total, INSERTED)):
        done.append(mutator.mutate("insert", position=rng.randrange(len(catalogue) + 1)))
    return done


def _number(total: int, share: float) -> int:
    return max(1, round(total * share))


def _next(catalogue: Catalogue, fresh: Iterator[int]) -> int:
    """The next record that was not touched this night and is a picture of an article."""
    for file_id in fresh:
        if _is_ordinary(catalogue.record(file_id)):
            return file_id
    raise MutationError("the catalogue is too small for a night of changes; use at least 40 records")


def _is_ordinary(record: Record) -> bool:
    return is_well_formed(record) and bool(record["articles"]) and bool(record["exported_files"])
