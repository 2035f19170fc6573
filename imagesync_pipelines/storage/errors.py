"""What can go wrong with our storage, as named errors.

Every message says what happened and what to do about it.
"""

from imagesync_pipelines.errors import ImagesyncError


class StorageError(ImagesyncError):
    """Something about the database, the home folder or a stored file; the message is written for people."""


class EmbeddedServerError(StorageError):
    """The embedded PostgreSQL could not be set up, started, joined or stopped."""


class DatabaseUnreachableError(StorageError):
    """The database did not answer; nothing was changed."""


class DatabaseVersionError(StorageError):
    """The database was upgraded by a newer version of this program, or has to pass through an older one first."""


class PageError(StorageError):
    """A raw page is not stored, its file is gone, or is not what was written."""


class ScanMissingError(StorageError):
    """There is no scan with that id."""


class PlanMissingError(StorageError):
    """There is no plan with that id, or its file is gone."""


class NoPlanOfThisRunError(PlanMissingError):
    """No plan belongs to the run that is to apply one, and none was named."""

    retryable = False


class PlanDamagedError(StorageError):
    """The file of a plan cannot be read."""


class PinRefusedError(StorageError):
    """A pin names an image that the product does not have, or a product that we do not have."""


class AccountBusyError(StorageError):
    """Another run holds the lock of the connector."""


class HandOverMissingError(StorageError):
    """No step left for this run what it needs; the message says what to run."""

    retryable = False
