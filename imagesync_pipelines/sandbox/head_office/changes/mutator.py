"""Changing head office's data by the name of an operator.

What belongs here: the list of operators and checking how one is called. What does not: the operators.
"""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from imagesync_pipelines.sandbox.head_office.changes import objects, photos, scope
from imagesync_pipelines.sandbox.head_office.changes.bench import Bench, Mutation, MutationError

OPERATORS: Mapping[str, Callable[..., Mutation]] = {
    operator.__name__: operator
    for operator in (
        photos.replace,
        photos.replace_with,
        photos.add,
        photos.late_commit,
        photos.second_primary,
        photos.excel_import,
        photos.delete_row,
        photos.edit,
        photos.stale_checksum,
        photos.wrong_size,
        scope.deactivate_product,
        scope.reactivate_product,
        scope.delete_product,
        scope.unlink_brand,
        scope.link_brand,
        scope.empty_store,
        scope.refill_store,
        scope.deactivate_store,
        scope.activate_store,
        objects.delete_object,
        objects.overwrite_object,
        objects.flip_object,
        objects.truncate_object,
    )
}


def mutate(bench: Bench, operator: str, *, silent: bool | None = None, **arguments: Any) -> Mutation:
    """Make one change now; arguments as the operator takes them, and what is not named is chosen from the seed.

    `silent` changes leave nothing for incremental readers to find; without it the bench's own way holds. Raises
    MutationError.
    """
    if operator not in OPERATORS:
        raise MutationError(f"no operator is called {operator}; there are {', '.join(sorted(OPERATORS))}")
    try:
        signature(OPERATORS[operator]).bind(bench, **arguments)
    except TypeError as error:
        raise MutationError(f"{operator}: {error}") from error
    with bench.lock:
        before = bench.silent
        bench.silent = before if silent is None else silent
        try:
            return OPERATORS[operator](bench, **arguments)
        finally:
            bench.silent = before
