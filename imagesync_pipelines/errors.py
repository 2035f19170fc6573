"""The bases of errors: one that is written for people, one that the engine must know from wherever it comes."""

import builtins

_REASON_CHARACTERS = 500
# Of Python's own kinds those that say something of an item or of the machine; any other one says it of our code.
_FORESEEN = (OSError, MemoryError, ValueError)


class ImagesyncError(Exception):
    """Something that people can put right; the message is one line: what happened, to what, and what to do."""


class BadBodyError(ImagesyncError):
    """What somebody sent us cannot be understood at all; the message says why."""


class RemoteError(ImagesyncError):
    """A call to an outside system failed."""


class AnswerLostError(Exception):
    """A remote call was sent and its answer never came: whether it had an effect is unknown."""


def error_reason(error: BaseException) -> str:
    """An error's kind and first line, for people; of a database the driver's, without the statement."""
    error = getattr(error, "orig", None) or error
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}"[:_REASON_CHARACTERS] if text else type(error).__name__


def unforeseen_kind(reason: str) -> str:
    """The kind of error in an error_reason when it is one that nobody expects, such as KeyError; else ''."""
    name = reason.partition(":")[0]
    kind = getattr(builtins, name, None)
    ours = isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _FORESEEN)
    return name if ours else ""
