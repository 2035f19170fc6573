"""Whose account a token of the accounts file opens, as the entities that are read anyway say (`accountId`).

What belongs here: remembering the id of every account, and refusing a child account that is the main one's or another
child's. What does not: the rule (sync/identity.py), reading entities (api/). The check stands before the map of a child
account is written and before each of its lists is replaced, since writing needs an entity that was found there.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from imagesync_pipelines.accounts.moysklad import MAIN
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.cursors import move_cursor, read_cursors
from imagesync_pipelines.sync.identity import same_account

# Under this name the ids are kept beside the cursors: like them, one word per account that a reading brought.
_KEPT_AS = "moysklad/account_id"
# Any number that nothing else in this database uses as an advisory lock ("msid" in ASCII).
_LOCK = 0x6D736964


class SameAccountError(SettingsError):
    """Two names of the accounts file are one account of МойСклад; the message has both. Nothing was written."""


@dataclass(frozen=True)
class ChildIdentity:
    """What is known of a child account's identity, and of those that it must not be. Used from several threads.

    others: the child accounts that are not off; None: all that were ever seen. passed: ids that were checked already.
    """

    engine: sa.Engine
    child: str
    others: frozenset[str] | None = None
    passed: set[str] = field(default_factory=set, compare=False)

    def check(self, account_ids: Iterable[str]) -> None:
        """Look at whose entities came from this account, and remember it.

        Raises SameAccountError when they are the main account's or another child's. An entity that does not say whose
        it is proves nothing.
        """
        for account_id in set(account_ids) - self.passed - {""}:
            with self.engine.begin() as connection:
                # Two children that begin at the same moment must see each other.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                known = read_cursors(connection, _KEPT_AS)
                other = same_account(self.child, account_id, self._compared(known))
                if other:
                    raise SameAccountError(_refusal(self.child, other))
                move_cursor(connection, _KEPT_AS, self.child, account_id)
            self.passed.add(account_id)

    def _compared(self, known: Mapping[str, str]) -> dict[str, str]:
        """The accounts that this one must not be: a name that left the accounts file, or is off, is no matter."""
        return {
            name: account_id
            for name, account_id in known.items()
            if name == MAIN or self.others is None or name in self.others
        }


def remember_main(engine: sa.Engine, account_ids: Collection[str]) -> None:
    """Remember whose entities came from the main account; nothing where they do not say, or not all the same."""
    said = set(account_ids) - {""}
    if len(said) == 1:
        with engine.begin() as connection:
            move_cursor(connection, _KEPT_AS, MAIN, said.pop())


def _refusal(child: str, other: str) -> str:
    whose = "the main account" if other == MAIN else f"the child account {other}"
    section = "[moysklad.main]" if other == MAIN else f"[moysklad.children.{other}]"
    return (
        f"IMAGESYNC_ACCOUNTS: the credentials of [moysklad.children.{child}] and of {section} open one and the same "
        f"account of МойСклад, so {child} would overwrite the images of {whose}. Nothing was written. Give {child} a "
        "token of its own account, or set its mode to off."
    )
