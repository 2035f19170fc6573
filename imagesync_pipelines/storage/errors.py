"""What can go wrong with our storage, as named errors.

Every message says what happened and what to do about it.
"""

from imagesync_pipelines.errors import ImagesyncError


class StorageError(ImagesyncError):
    """Something about the database, the home folder or a stored file; the message is written for people."""


class DatabaseUnreachableError(StorageError):
    """The database did not answer; nothing was changed."""


class StorageRootError(StorageError):
    """Where files are kept is not there or refuses us, which says nothing of any one of them."""


class PlanMissingError(StorageError):
    """There is no plan with that id, or its file is gone or damaged."""


class NoPlanOfThisRunError(PlanMissingError):
    """No plan belongs to the run that is to apply one, and none was named."""

    retryable = False


class PlanExpiredError(StorageError):
    """Nothing of a plan can be carried out any more: a newer one judges all of it otherwise, or it is excluded."""


class PinRefusedError(StorageError):
    """A pin names an image that the product does not have, or a product that we do not have."""


class AccountBusyError(StorageError):
    """Another run holds the lock of the connector."""


class LockLostError(StorageError):
    """The lock of the account was lost while a run worked on it; the run stops, the next one goes on."""


class TransactionPoolerError(StorageError):
    """Between us and the database is a pooler of transactions, where no lock lasts."""

    retryable = False


class HandOverMissingError(StorageError):
    """No step left for this run what it needs; the message says what to run."""

    retryable = False
