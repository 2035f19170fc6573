"""People of the catalogue: passwords are hashed, roles are kept, a session ends when it should."""

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.schema_catalogue import web_user
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import AccessRefusedError, UserRole

PASSWORD = "a long password"


def test_a_password_lets_its_person_in_and_is_not_kept(database: sa.Engine) -> None:
    made = access.set_user(database, "anna", UserRole.ADMIN, PASSWORD)
    found = access.log_in(database, "anna", PASSWORD)
    assert found is not None
    assert (found.id, found.role, made.last_login_at) == (made.id, UserRole.ADMIN, None)
    assert found.last_login_at is not None
    with database.connect() as connection:
        kept = connection.execute(sa.select(web_user.c.password_hash)).scalar_one()
    assert kept.startswith("$argon2id$")
    assert PASSWORD not in kept


def test_nobody_else_is_let_in(database: sa.Engine) -> None:
    access.set_user(database, "anna", UserRole.VIEWER, PASSWORD)
    odd = [("nobody", PASSWORD), ("anna\0", PASSWORD), *(("anna", text) for text in ("a wrong one", "", "x" * 100_000))]
    assert [access.log_in(database, name, password) for name, password in odd] == [None] * len(odd)


def test_a_new_password_replaces_the_old_one_and_ends_sessions(database: sa.Engine) -> None:
    first = access.set_user(database, "anna", UserRole.VIEWER, PASSWORD)
    second = access.set_user(database, "anna", UserRole.ADMIN, "another password")
    assert second.id == first.id
    assert access.log_in(database, "anna", PASSWORD) is None
    assert access.user_of_session(database, first.id, first.session_epoch) is None
    assert access.user_of_session(database, second.id, second.session_epoch) == second


def test_who_is_disabled_is_out_at_once_and_logging_out_ends_sessions(database: sa.Engine) -> None:
    anna = access.set_user(database, "anna", UserRole.VIEWER, PASSWORD)
    berta = access.set_user(database, "berta", UserRole.VIEWER, PASSWORD)
    access.disable_user(database, "anna")
    access.end_sessions(database, berta.id)
    assert access.log_in(database, "anna", PASSWORD) is None
    assert access.user_of_session(database, anna.id, anna.session_epoch + 1) is None
    assert access.user_of_session(database, berta.id, berta.session_epoch) is None
    assert [(one.name, one.is_active) for one in access.list_users(database)] == [("anna", False), ("berta", True)]


def test_bad_names_and_passwords_are_refused(database: sa.Engine) -> None:
    for name in ("", "a b", "<b>", "x" * 101):
        with pytest.raises(AccessRefusedError, match="a name has"):
            access.set_user(database, name, UserRole.VIEWER, PASSWORD)
    for password in ("short", "x" * 1001):
        with pytest.raises(AccessRefusedError, match="a password has"):
            access.set_user(database, "anna", UserRole.VIEWER, password)
    assert access.list_users(database) == []


def test_disabling_nobody_says_so(database: sa.Engine) -> None:
    with pytest.raises(AccessRefusedError, match="no user anna"):
        access.disable_user(database, "anna")
