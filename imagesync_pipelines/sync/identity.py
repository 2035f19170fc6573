"""Whose account it is: what its system tells is compared with what was recorded, before anything is written.

An identity is an account, never a token: another token of the same account changes nothing. A connector only tells who
answered, from answers that it reads anyway; where a system does not tell, the identity is unproven, which is said and
refuses nothing.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_, retold
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage import acknowledged, identities, memory
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.schema import held, intent, product_image, quarantine

Told = Sequence[tuple[str, str]]
"""What a system said of whose account it is: where it says it, and the id; what is believed first comes first."""
ByPlace = Mapping[str, str]
"""Ids of one account by where they are said."""
UNPROVEN = N_("unproven: the system does not say whose account it is")


class IdentityRefusedError(SettingsError):
    """The account that answered is not the one that is meant; the message names both. Nothing was written."""


class Verdict(StrEnum):
    """What an answer means for the account that is meant."""

    SAME = "same"
    NEW = "new"
    UNPROVEN = "unproven"
    MOVED = N_("another than recorded")
    NOT_DECLARED = N_("another than declared")
    OWN_SOURCE = N_("its own source")
    SHARED = N_("another name's")


class Judged(NamedTuple):
    """A verdict, with the place and the id that it was made from; other: the other name of the account, or its id."""

    verdict: Verdict
    told_by: str = ""
    told: str = ""
    other: str = ""


def canonical(identity: str) -> str:
    """An id as it is compared: no system tells two of its accounts apart by blanks or capital letters."""
    return identity.strip().casefold()


def judge(
    told: Told,
    *,
    recorded: ByPlace,
    declared: str = "",
    sources: Mapping[str, ByPlace] | None = None,
    others: Mapping[str, ByPlace] | None = None,
) -> Judged:
    """What an answer means.

    recorded: the account that is meant, as it was recorded. declared: its id as a person wrote it down, '' for none,
    which holds over what was recorded. sources: where its images come from, by name; others: further names of accounts
    in which the same rows would be written. Only ids that are said in the same place are compared. A place that says
    several ids says none of them for sure; but no one of them may be a source's or another name's.
    """
    said = list(dict.fromkeys((place, canonical(one)) for place, one in told if canonical(one)))
    for verdict, names in ((Verdict.OWN_SOURCE, sources or {}), (Verdict.SHARED, others or {})):
        for place, one in said:
            same = sorted(name for name, known in names.items() if known.get(place) == one)
            if same:
                return Judged(verdict, place, one, same[0])
    places = [place for place, _ in said]
    sure = [(place, one) for place, one in said if places.count(place) == 1]
    if not sure:
        return Judged(Verdict.UNPROVEN)
    wanted = canonical(declared)
    if wanted:
        place, one = sure[0]
        if one != wanted:
            return Judged(Verdict.NOT_DECLARED, place, one, wanted)
        return Judged(Verdict.SAME if recorded.get(place) == one else Verdict.NEW, place, one)
    for place, one in sure:
        if place in recorded:
            same_one = recorded[place] == one
            return Judged(Verdict.SAME if same_one else Verdict.MOVED, place, one, "" if same_one else recorded[place])
    return Judged(Verdict.NEW, *sure[0])


@dataclass(frozen=True)
class Identity:
    """One account of a connector in a run; used from several threads.

    section: where a person finds it, such as [plytix.accounts.main]. declared: its id in the accounts file, '' for
    none. others: names of accounts in which the same rows would be written, with their sections; sources: the same of
    where its images come from, which are read when they are needed. warnings: what a person has to know.
    """

    engine: sa.Engine
    connector: str
    account: str
    section: str
    run_id: str | None = None
    declared: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    told_by_sources: Callable[[], Mapping[str, Told]] = dict
    warnings: list[str] = field(default_factory=list, compare=False)
    _passed: dict[bool, set[tuple[str, str]]] = field(default_factory=lambda: {True: set(), False: set()}, repr=False)

    def look(self, told: Iterable[tuple[str, str]]) -> None:
        """Judge who answered and record nothing, as a run that only looks.

        Raises IdentityRefusedError; the account that was refused is noted then, so that a person may accept it.
        """
        self._judge(list(told), record=False)

    def record(self, told: Iterable[tuple[str, str]]) -> None:
        """Judge who answered, and record it where it is not yet: this run is about to write.

        Raises IdentityRefusedError, as `look` does.
        """
        self._judge(list(told), record=True)

    def recorded(self, told_by: str) -> str:
        """The id that is recorded as said in this place, '' for none."""
        with self.engine.connect() as connection:
            known = identities.read_identities(connection, self.connector)
        mine = (one.identity for one in known if (one.account, one.told_by) == (self.account, told_by))
        return next(mine, "")

    def said(self) -> str:
        """Whose account it is, for people, as it is recorded."""
        with self.engine.connect() as connection:
            known = identities.read_identities(connection, self.connector)
        return ", ".join(f"{one.told_by} {one.identity}" for one in known if one.account == self.account) or UNPROVEN

    def judged(self, told: Told) -> tuple[Judged, str]:
        """What an answer means, and why nothing may be written, '' when it may; nothing at all is noted."""
        sources = self.told_by_sources()
        with self.engine.connect() as connection:
            judged = self._compared(connection, told, sources)[0]
        return judged, self._refusal(judged)

    def _judge(self, told: Told, *, record: bool) -> None:
        fresh = {(place, canonical(one)) for place, one in told} - {("", "")}
        if not fresh or fresh <= self._passed[record]:
            return
        sources = self.told_by_sources()
        with self.engine.begin() as connection:
            identities.hold_identities(connection)
            judged, known, named = self._compared(connection, told, sources)
            refusal = self._refusal(judged)
            if judged.verdict is Verdict.MOVED:
                identities.note_refused(connection, self.connector, self.account, judged.told_by, judged.told)
            if not refusal and record:
                for name, places in {**named, self.account: _by_place(told)}.items():
                    for place, one in places.items():
                        if known.get(name, {}).get(place) != one:
                            identities.record_identity(connection, self.connector, name, place, one, self.run_id)
        if refusal:
            raise IdentityRefusedError(refusal)
        self._passed[record] |= fresh

    def _compared(
        self, connection: sa.Connection, told: Told, sources: Mapping[str, Told]
    ) -> tuple[Judged, dict[str, dict[str, str]], dict[str, dict[str, str]]]:
        """What an answer means; what is recorded, by name; and what is known of the sources now."""
        known: dict[str, dict[str, str]] = {}
        for row in identities.read_identities(connection, self.connector):
            known.setdefault(row.account, {})[row.told_by] = canonical(row.identity)
        named = {name: {**known.get(name, {}), **_by_place(sources.get(name, ()))} for name in self.sources}
        judged = judge(
            told,
            recorded=known.get(self.account, {}),
            declared=self.declared,
            sources=named,
            others={name: known.get(name, {}) for name in self.others if name != self.account},
        )
        return judged, known, named

    def _refusal(self, judged: Judged) -> str:
        """Why nothing may be written, '' when it may."""
        account, section = f"{judged.told_by} {judged.told}", self.section
        ending = languages.told(f"Nothing was written. Give {self.account} the credentials of its own account")
        match judged.verdict:
            case Verdict.OWN_SOURCE:
                source = self.sources[judged.other]
                return languages.told(
                    f"The credentials of {section} and of {source} open one and the same account ({account}), so "
                    f"{self.account} would overwrite the very images that it gets. {ending}."
                )
            case Verdict.SHARED:
                return languages.told(
                    f"The credentials of {section} and of {self.others[judged.other]} open one and the same account "
                    f"({account}), so {self.account} and {judged.other} would undo each other. {ending}."
                )
            case Verdict.NOT_DECLARED:
                return languages.told(
                    f"{section} opens the account {judged.told} ({judged.told_by}), and its account_id says "
                    f"{judged.other}. {ending}, or correct account_id."
                )
            case Verdict.MOVED:
                accept = f"imagesync identity accept {self.connector} {self.account} {judged.told}".replace("  ", " ")
                return languages.told(
                    f"{section} opens another account than before: {judged.told} ({judged.told_by}), and "
                    f"{judged.other} was recorded. {ending}; or, if it was moved on purpose, type `{accept}`."
                )
            case _:
                return ""


class AccountLine(NamedTuple):
    """What is known of one account, for people.

    whose: its ids and where they are said, else that it is unproven and how it is declared. since: when it was
    recorded. refused: another account that answered since.
    """

    connector: str
    account: str
    whose: str
    since: datetime | None = None
    refused: str = ""


def overview(engine: sa.Engine, declared: Mapping[str, Mapping[str, str]]) -> list[AccountLine]:
    """Every account that is recorded or declared (connector → name → address and login), ordered by name."""
    with engine.connect() as connection:
        recorded = identities.read_identities(connection)
    lines: dict[tuple[str, str], AccountLine] = {}
    for one in recorded:
        known = lines.get((one.connector, one.account))
        said = f"{retold(one.told_by)} {one.identity}"
        lines[one.connector, one.account] = AccountLine(
            one.connector,
            one.account,
            f"{known.whose}, {said}" if known else said,
            max(known.since, one.recorded_at) if known and known.since else one.recorded_at,
            one.refused or (known.refused if known else ""),
        )
    for connector, names in declared.items():
        for name, words in names.items():
            lines.setdefault(
                (connector, name), AccountLine(connector, name, languages.told(f"unproven so far, declared as {words}"))
            )
    return [lines[place] for place in sorted(lines)]


def accept(
    engine: sa.Engine,
    connector: str,
    account: str,
    identity: str = "",
    *,
    forget: Callable[[sa.Connection, str], None] = lambda connection, account: None,
) -> str:
    """Take another account for the one that is meant, by a person's word; gives its id.

    identity: the account; '' is the one that was refused last. forget: what is remembered of the account before, which
    the new one does not have. Raises IdentityRefusedError when there is nothing to accept.
    """
    with engine.begin() as connection:
        identities.hold_identities(connection)
        mine = [one for one in identities.read_identities(connection, connector) if one.account == account]
        chosen = next((one for one in mine if one.refused and canonical(identity) in ("", one.refused)), None)
        wanted = canonical(identity) or (chosen.refused if chosen is not None else "")
        if not wanted or not mine:
            raise IdentityRefusedError(
                f"No other account was refused under the name {connector} {account}, so there is nothing to accept; "
                "`imagesync identity list` tells what is recorded."
            )
        place, owner = (chosen or mine[0]).told_by, f"{connector}/{account}" if account else connector
        forget(connection, account)
        for table in (intent, quarantine):
            connection.execute(table.delete().where(table.c.connector == owner))
        connection.execute(held.delete().where(held.c.connector == connector, held.c.account == account))
        acknowledged.forget(connection, connector, account)
        identities.forget_identities(connection, connector, account)
        identities.record_identity(connection, connector, account, place, wanted, None)
    return wanted


def accept_installation(installation: Installation) -> str:
    """Put our database and the storage root together, by a person's word; gives the database's id."""
    ours = identities.installation_id(installation.engine)
    identities.keep_installation(installation.storage, ours, _counter(installation))
    return ours


def take_as_restored(installation: Installation) -> datetime:
    """Believe of no target what our database remembers of it, until it was read whole: it is that of a backup.

    Gives the moment that is noted.
    """
    ours = identities.installation_id(installation.engine)
    kept, counter = identities.kept_installation(installation.storage)
    return memory.note_restored(installation.engine, counter if kept == ours else 0)


def move_installation_on(installation: Installation) -> None:
    """Remember in our database, then in the storage root, that a run is about to write. Call it when both are checked.

    A database that is restored from a backup is then older than the storage root.
    """
    counter = memory.move_installation_on(installation.engine)
    identities.keep_installation(installation.storage, identities.installation_id(installation.engine), counter)


def _counter(installation: Installation) -> int:
    return memory.counter_of(installation.engine, identities.INSTALLATION) or 0


def check_installation(installation: Installation, *, record: bool) -> str:
    """Whether pages and plans below the storage root are of this very database; what a person has to know, '' if none.

    record: the run is about to write. A database without any image and account is adopted with a warning; one that is
    older than the storage root is taken for a restored one. Raises IdentityRefusedError, with both ids.
    """
    ours, (kept, counter) = (
        identities.installation_id(installation.engine),
        identities.kept_installation(installation.storage),
    )
    warning = ""
    if kept == ours and counter > _counter(installation):
        take_as_restored(installation)
        warning = languages.told(
            "Our database remembers less than the storage root does, so it was restored from a backup. "
            "What it remembers of each account is not believed until a run has read that account."
        )
    if kept not in ("", ours):
        if not _is_empty(installation.engine):
            raise IdentityRefusedError(
                f"IMAGESYNC_DATABASE_URL is the database of installation {ours}, and {installation.storage} belongs to "
                f"installation {kept}. Nothing was written. Set the database or the storage that belongs to it; or, if "
                f"they were put together on purpose, type `imagesync identity accept installation`."
            )
        warning = languages.told(
            f"The database is empty and new (installation {ours}); the storage root, which belonged to installation "
            f"{kept}, is taken over."
        )
    if record and kept != ours:
        identities.keep_installation(installation.storage, ours, _counter(installation))
    return warning


def _is_empty(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        known = [one for one in identities.read_identities(connection) if one.connector != identities.INSTALLATION]
        return not known and connection.execute(sa.select(product_image.c.id).limit(1)).first() is None


def _by_place(told: Told) -> dict[str, str]:
    """The id of each place that says one only."""
    said: dict[str, set[str]] = {}
    for place, one in told:
        if canonical(one):
            said.setdefault(place, set()).add(canonical(one))
    return {place: next(iter(ids)) for place, ids in said.items() if len(ids) == 1}


def only(told_by: str, ids: Collection[str]) -> list[tuple[str, str]]:
    """What one place said, as Told."""
    return [(told_by, one) for one in sorted(ids)]
