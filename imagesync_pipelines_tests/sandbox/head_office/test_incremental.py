"""Proves that a reader who asks with `since` misses nothing of the service, and that the original needs full walks."""

from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox
from imagesync_pipelines_tests.sandbox.head_office.callers import Caller

pytestmark = pytest.mark.slow

CHANGES = (
    "replace", "replace", "add", "second_primary", "excel_import", "delete_row", "edit", "edit", "stale_checksum",
    "deactivate_product", "reactivate_product", "delete_product", "unlink_brand", "link_brand",
)  # fmt: skip
STEPS = 14


class Reader:
    """Keeps what it read by id, without image_url; its cursor is the largest stamp it saw, as head office wrote it."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.photos: dict[str, dict[str, Any]] = {}
        self.cursor = ""

    def read(self) -> None:
        """One page from the cursor on."""
        data = self.caller.page(f"limit=1000&since={quote(self.cursor)}" if self.cursor else "limit=1000")
        for photo in data["photos"]:
            self.photos[photo["id"]] = seen(photo)
            self.cursor = max(self.cursor, photo["updated_at"])
        for photo_id in data.get("deleted_ids", ()):
            self.photos.pop(photo_id, None)


def seen(photo: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in photo.items() if name != "image_url"}


def everything(caller: Caller) -> dict[str, dict[str, Any]]:
    return {photo_id: seen(photo) for photo_id, photo in caller.everything().items()}


def change(sandbox: HeadOfficeSandbox, rng: Random, off: list[Any]) -> None:
    operator = rng.choice(CHANGES)
    if operator == "reactivate_product":
        if off:
            sandbox.mutate(operator, product_id=off.pop())
        return
    made = sandbox.mutate(operator)
    if operator == "deactivate_product":
        off.append(made.product_id)


@pytest.mark.parametrize("seed", range(3))
def test_an_incremental_reader_of_the_service_misses_nothing(service: HeadOfficeSandbox, seed: int) -> None:
    caller, rng, off = Caller(service), Random(seed), []
    reader = Reader(caller)
    reader.read()
    assert reader.photos
    for _ in range(STEPS):
        for _ in range(rng.randrange(3)):
            change(service, rng, off)
        reader.read()
        assert reader.photos == everything(caller)


@pytest.mark.parametrize("operator", ["replace", "delete_row", "delete_product", "deactivate_product", "unlink_brand"])
def test_what_goes_is_told_by_the_service_and_never_by_the_original(either: Caller, operator: str) -> None:
    reader = Reader(either)
    reader.read()
    assert reader.photos == everything(either)
    either.sandbox.mutate(operator)
    reader.read()
    is_right = reader.photos == everything(either)
    either.sandbox.mutate("refill_store")
    assert is_right is not either.sandbox.bench.silent


def test_a_late_commit_hides_from_who_read_before(either: Caller) -> None:
    reader = Reader(either)
    reader.read()
    either.sandbox.mutate("late_commit", seconds=86_400 * 500)
    reader.read()
    assert len(everything(either)) == len(reader.photos) + 1


def test_what_reappears_is_found_in_the_service_only(either: Caller) -> None:
    product = either.sandbox.mutate("deactivate_product").product_id
    reader = Reader(either)
    reader.read()
    either.sandbox.mutate("reactivate_product", product_id=product)
    reader.read()
    assert len(everything(either)) == len(reader.photos) + either.sandbox.bench.silent
