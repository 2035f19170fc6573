"""`imagesync exclude`, `include` and `exclusions`: looked at, done, listed, and taken back."""

from pathlib import Path
from unittest.mock import patch

import pytest
import sqlalchemy as sa

from imagesync_pipelines.cli import exclude
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines_tests.cli.terminals import Ended, call


def test_a_product_is_excluded_from_a_channel_until_it_is_included(
    database_url: str, database: sa.Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> Ended:
        return call(None, capsys, *words, IMAGESYNC_HOME=str(tmp_path), IMAGESYNC_DATABASE_URL=database_url)

    with database.begin() as connection:
        connection.execute(product.insert().values(kind="variant", erp_id="1", sku="100", name="Engel"))
    of = ("--connector", "image_db")
    look = said("exclude", "100", "200", *of, "--dry-run").out
    assert "100: would be excluded from image_db; what is there stays" in look
    assert "200: nothing to do: neither the ERP nor image_db knows it" in look
    wrong = said("exclude", "100", "200", *of)
    assert (wrong.code, "knows the SKU '200'; nothing was excluded" in wrong.err) == (1, True)
    assert "no accounts" in said("exclude", "100", *of, "--account", "x").err
    assert (
        "there are no edge stores; name a TOML file"
        in said("exclude", "100", "--connector", "edge", "--store", "x").err
    )
    assert "0 exclusions" in said("exclusions").out
    look = said("exclude", "100", *of, "--take-away", "--dry-run").out
    assert look.endswith("What is there of them would be planned to be taken away.\n")
    assert said("exclude", "100", *of, "--why", "sold out").out.startswith("100: excluded from image_db")
    listed = said("exclusions").out
    assert "1 exclusion" in listed
    assert "sold out" in listed
    assert "100: nothing to do: 100 is excluded by" in said("exclude", "100", *of).out
    assert said("include", "100", "200", *of).out.splitlines() == [
        "100: excluded from image_db no longer; the next run does there what is wanted",
        "200: nothing to do: it is not excluded",
    ]
    assert "0 exclusions" in said("exclusions").out
    asked = list[tuple[object, ...]]()
    with patch.object(exclude.undoing, "take_away") as planning, patch.object(exclude, "print_outcome", return_value=3):
        planning.side_effect = lambda *given, **_: asked.append(given)
        ended = said("exclude", "100", *of, "--take-away")
    assert (ended.code, asked) == (3, [("image_db", "", ["100"])])
    assert "1 exclusion" in said("exclusions").out
