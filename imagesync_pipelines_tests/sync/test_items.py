"""Errors in the middle of one item: which are of that item alone, and which end the run."""

import errno

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors as of_database

from imagesync_pipelines.errors import ImagesyncError, error_reason
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.errors import (
    DatabaseUnreachableError,
    LockLostError,
    StorageRootError,
    TransactionPoolerError,
)
from imagesync_pipelines.sync.apply import ends_run, item_failure
from imagesync_pipelines.sync.identity import IdentityRefusedError
from imagesync_pipelines.upstream.errors import CredentialsError


class InventedError(Exception):
    """Of no library that anybody named."""


def wrapped(kind: type[sa.exc.DBAPIError], said: BaseException) -> sa.exc.DBAPIError:
    return kind("INSERT INTO secret VALUES (1)", {}, said)


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


OF_ONE_ITEM = (
    FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"),
    PermissionError(errno.EACCES, "Permission denied", "/x"),
    OSError(errno.EIO, "Input/output error", "/x"),
    InventedError("x"),
    KeyError("x"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    MemoryError(),
    ImagesyncError("x"),
    of_database.ProgramLimitExceeded("index row size 9000 exceeds btree version 4 maximum 2704"),
    wrapped(sa.exc.OperationalError, of_database.ProgramLimitExceeded("row is too big")),
    psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
    wrapped(sa.exc.DataError, of_database.NumericValueOutOfRange("integer out of range")),
    wrapped(sa.exc.DataError, of_database.CharacterNotInRepertoire("invalid byte sequence")),
    wrapped(sa.exc.IntegrityError, of_database.UniqueViolation("x")),
)
OF_THE_RUN = (
    SettingsError("x"),
    IdentityRefusedError("x"),
    DatabaseUnreachableError("x"),
    LockLostError("x"),
    StorageRootError("x"),
    TransactionPoolerError("x"),
    OSError(errno.ENOSPC, "No space left on device", "/x"),
    OSError(errno.EROFS, "Read-only file system", "/x"),
    OSError(errno.EMFILE, "Too many open files", "/x"),
    caused(InventedError("x"), OSError(errno.EDQUOT, "Disk quota exceeded")),
    of_database.AdminShutdown("terminating connection due to administrator command"),
    of_database.DiskFull("x"),
    psycopg.OperationalError("the connection is closed"),
    wrapped(sa.exc.OperationalError, psycopg.OperationalError("server closed the connection unexpectedly")),
    wrapped(sa.exc.InterfaceError, psycopg.InterfaceError("x")),
    sa.exc.DBAPIError("SELECT 1", {}, psycopg.DatabaseError("x"), connection_invalidated=True),
)


@pytest.mark.parametrize("error", OF_ONE_ITEM, ids=lambda error: f"{type(error).__name__} {error}"[:60])
def test_an_error_of_one_item_is_its_failure_in_a_line(error: Exception) -> None:
    assert not ends_run(error)
    reason = item_failure(error)
    assert reason
    assert "\n" not in reason
    assert "INSERT" not in reason


@pytest.mark.parametrize("error", OF_THE_RUN, ids=lambda error: f"{type(error).__name__} {error}"[:60])
def test_an_error_of_the_installation_or_its_database_is_no_items(error: Exception) -> None:
    assert ends_run(error)
    with pytest.raises(type(error)):
        item_failure(error)


def test_a_connector_adds_errors_of_its_own() -> None:
    assert not ends_run(CredentialsError("x"))
    assert ends_run(CredentialsError("x"), (CredentialsError,))


def test_the_drivers_words_are_told_and_not_the_statement() -> None:
    assert error_reason(wrapped(sa.exc.DataError, of_database.NumericValueOutOfRange("out of range"))) == (
        "NumericValueOutOfRange: out of range"
    )
