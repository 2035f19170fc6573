"""A secret that an installation makes for itself is made once, whoever comes first, and is nobody else's to read."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagesync_pipelines.storage.errors import StorageError
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


@pytest.mark.parametrize(
    ("left", "said"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\n", "is empty", id="blank"),
        pytest.param(b"\x00" * 64, "is damaged", id="NUL"),
        pytest.param(b"5f" * 20, "is damaged", id="cut"),
    ],
)
def test_a_file_that_a_power_cut_left_is_refused_with_what_to_do(tmp_path: Path, left: bytes, said: str) -> None:
    """Whoever signed with it would be believed by everybody."""
    (tmp_path / "some.secret").write_bytes(left)
    with pytest.raises(StorageError, match=rf"some\.secret should hold a secret and {said}.* Remove it"):
        kept_secret(tmp_path / "some.secret")
