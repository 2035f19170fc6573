"""A secret that an installation makes for itself is made once, whoever comes first, and is nobody else's to read."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from imagesync_pipelines.storage.installation import kept_secret


def test_a_secret_stays_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "home" / "some.secret"
    first = kept_secret(file)
    assert kept_secret(file) == first
    assert len(first.get_secret_value()) == 64
    assert kept_secret(tmp_path / "other.secret") != first


def test_only_its_owner_may_read_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = tmp_path / "some.secret"
    kept_secret(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_several_at_once_get_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = list(pool.map(lambda _: kept_secret(tmp_path / "some.secret"), range(16)))
    assert len({secret.get_secret_value() for secret in secrets}) == 1
