"""`imagesync article`: which product a number is, kept, listed and forgotten."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.schema import product
from imagesync_pipelines_tests.cli.terminals import Ended, call


def test_a_number_is_a_product_until_it_is_forgotten(
    database_url: str, database: sa.Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def article(*words: str) -> Ended:
        return call(None, capsys, "article", *words, IMAGESYNC_HOME=str(tmp_path), IMAGESYNC_DATABASE_URL=database_url)

    with database.begin() as connection:
        values = {"kind": "variant", "erp_id": "1", "sku": "100", "name": "Engel"}
        connection.execute(product.insert().values(**values))
    assert article("is", "1OO", "100", "--variant", "BE").out == "1OO BE is 100 Engel; the next run follows it\n"
    listed = article("list").out
    assert "1OO" in listed
    assert "Engel" in listed
    wrong = article("is", "1OO", "nothing")
    assert (wrong.code, "The ERP has no product" in wrong.err) == (1, True)
    assert article("forget", "1OO").code == 1
    assert article("forget", "1OO", "--variant", "BE").code == 0
    assert "0 rules" in article("list").out
