"""`imagesync key`: a key is printed once, listed without its secret, and revoked."""

from pathlib import Path

import pytest

from imagesync_pipelines_tests.cli.terminals import Ended, call


def test_a_key_is_made_listed_and_revoked(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def key(*words: str) -> Ended:
        variables = {"IMAGESYNC_DATABASE_URL": database_url, "IMAGESYNC_DAGSTER_URL": database_url}
        return call(None, capsys, "key", *words, IMAGESYNC_HOME=str(tmp_path), **variables)

    made = key("add", "shop", "--scope", "read", "--scope", "pin")
    assert made.code == 0, made.err
    assert "cannot be shown again" in made.err
    secret = made.out.strip()

    again = key("add", "shop")
    assert (again.code, again.out) == (1, "")
    assert "a key shop already" in again.err
    assert key("add", "shop", "--scope", "everything").code == 2

    listed = key("list").out
    assert "read, pin" in listed
    assert secret[:17] in listed
    assert secret not in listed

    assert key("revoke", "shop").code == 0
    refused = key("revoke", "shop")
    assert refused.code == 1
    assert "no valid key shop" in refused.err
