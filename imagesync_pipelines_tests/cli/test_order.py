"""`imagesync order`: shown first, kept, and ended."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines_tests.cli.terminals import Ended, call
from imagesync_pipelines_tests.products.rows import Picture, add_products, bring, primaries


def test_an_order_is_shown_kept_and_ended(
    database_url: str, database: sa.Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def order(*words: str) -> Ended:
        return call(None, capsys, "order", *words, IMAGESYNC_HOME=str(tmp_path), IMAGESYNC_DATABASE_URL=database_url)

    one, other = add_products(database, 2)
    bring(database, {(one, "7"): Picture(1), (one, "8"): Picture(2), (other, "7"): Picture(1)})
    shown = order("0", "1", "--by", "types", "--types", "front", "--dry-run")
    assert "0: 7, 8 → 7, 8\n1: stay as they are: it has one picture\n" in shown.out
    assert order("0", "--images", "8,9", "--yes").code == 1
    assert "0: 7, 8 → 8, 7\n1 put in order\n" in order("0", "--images", "8", "--yes").out
    assert (one, "8") in primaries(database)
    assert "0: 8, 7 → 7, 8\n1 put in order\n" in order("0", "--by", "rules", "--yes").out
    assert (one, "7") in primaries(database)
    for wrong in (("0",), ("0", "1", "--images", "7"), ("0", "--by", "newest", "--types", "front")):
        assert order(*wrong).code == 2, wrong
    assert "No product has the SKU 5" in order("5", "--by", "newest").err
