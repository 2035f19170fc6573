"""API keys: shown once, kept as a hash, good until revoked."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.schema_catalogue import api_key
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import AccessRefusedError, KeyScope

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_key_is_found_again_and_only_its_hash_is_kept(database: sa.Engine) -> None:
    key, made = access.add_key(database, "shop", [KeyScope.PIN, KeyScope.READ])
    found = access.find_key(database, key, NOW)
    assert found is not None
    assert (found.id, found.name, found.scopes) == (made.id, "shop", {KeyScope.READ, KeyScope.PIN})
    with database.connect() as connection:
        kept = str(
            connection.execute(sa.select(sa.cast(sa.literal_column("api_key"), sa.Text)).select_from(api_key)).scalar()
        )
    assert key.startswith(made.prefix)
    assert made.prefix in kept
    assert key.removeprefix(made.prefix) not in kept


def test_what_is_no_key_finds_nothing(database: sa.Engine) -> None:
    key, made = access.add_key(database, "shop", [KeyScope.READ])
    wrong = [
        "",
        made.prefix,
        key[:-1],
        key + "a",
        key.upper(),
        f"{made.prefix}_{'a' * 43}",
        "ключ",
        key + "\0",
        "' OR 1=1",
    ]
    assert [access.find_key(database, text, NOW) for text in wrong] == [None] * len(wrong)


def test_a_revoked_key_is_good_for_nothing_and_its_name_is_free(database: sa.Engine) -> None:
    key, _ = access.add_key(database, "shop", [KeyScope.READ])
    with pytest.raises(AccessRefusedError, match="a key shop already"):
        access.add_key(database, "shop", [KeyScope.READ])
    assert access.revoke_key(database, "shop").revoked_at is not None
    assert access.find_key(database, key, NOW) is None
    with pytest.raises(AccessRefusedError, match="no valid key shop"):
        access.revoke_key(database, "shop")
    access.add_key(database, "shop", [KeyScope.EXPORT])
    assert [one.revoked_at is None for one in access.list_keys(database)] == [True, False]


def test_its_use_is_noted_to_the_minute(database: sa.Engine) -> None:
    key, _ = access.add_key(database, "shop", [KeyScope.READ])
    seen = []
    for seconds in (0, 59, 61):
        access.find_key(database, key, NOW + timedelta(seconds=seconds))
        seen.append(access.list_keys(database)[0].last_used_at)
    assert seen == [NOW, NOW, NOW + timedelta(seconds=61)]


@pytest.mark.parametrize(("name", "scopes"), [("", [KeyScope.READ]), ("a b", [KeyScope.READ]), ("shop", [])])
def test_a_key_without_a_name_or_scopes_is_not_made(database: sa.Engine, name: str, scopes: list[KeyScope]) -> None:
    with pytest.raises(AccessRefusedError, match="no key was made"):
        access.add_key(database, name, scopes)
    assert access.list_keys(database) == []
