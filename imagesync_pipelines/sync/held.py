"""What is held back: judged and stopped by a limit or a doubt, known and told until a person or the source decides.

The guard of a plan holds rows of it; an input that is doubted holds what hangs on it by `hold`, under a name of its
own. What a person undid is here too, decided from the start: plans keep it (`mark_undone`). Every run tells what is
undecided, also one that planned nothing. What went in the last 24 hours without a person's word is remembered here too,
for the deletion limits.

Whoever loads the definitions passes here: pandas, and what works with it, is loaded by what has rows before it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.database import among, read_rows, storable
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow, note_effects
from imagesync_pipelines.storage.schema import held, removal
from imagesync_pipelines.storage.statistics import analyze_if_many
from imagesync_pipelines.sync import excluding
from imagesync_pipelines.sync.model import Change, Memory, Ruling, Undone
from imagesync_pipelines.sync.steps import CheckResult, RunContext, Table

if TYPE_CHECKING:
    import pandas as pd

# The kinds of what is held: the guard's two, products that left the ERP above the limits, what an account without any
# right would lack too.
LIMIT, DOUBT, PRODUCTS_GONE, UNSEEN = "limit", "doubt", N_("products gone"), "unseen"
# The kind of a person's undoing, and who holds such rows.
UNDONE = "undone"
ALLOW, KEEP = N_("allow"), N_("keep")
# What is said of a person's word; so many rows were meant.
DECIDED = {
    ALLOW: N_("{number} allowed; the next run carries them out"),
    KEEP: N_("{number} kept until the source wants them again"),
}
# Who holds the rows of plans.
GUARD = ""
# The deletion limits look at so much of the past.
WINDOW = timedelta(hours=24)
_DOES = {
    LIMIT: N_(
        "`imagesync held list` shows them; `imagesync held allow` lets them go, `imagesync held keep` keeps them"
    ),
    DOUBT: N_("`imagesync held list` shows them; they go when a second look agrees, or with `imagesync held allow`"),
    UNSEEN: N_(
        "they stay until it shows them again, or until `imagesync held allow`; `imagesync held list` shows them"
    ),
    PRODUCTS_GONE: N_("`--allow-products-gone` lets them go, `imagesync held keep` keeps them"),
}
_CONFLICT = ["connector", "account", "origin", "key"]


def would(kind: str, change: str) -> str:
    """What is held, in a word or two: the change, or what a mark waits for that its source has dropped."""
    return (
        languages.told("nothing until its source has it again") if (kind, change) == (UNDONE, Change.KEEP) else change
    )


@dataclass(frozen=True)
class HeldRow:
    """What somebody holds back. kind: LIMIT, DOUBT, PRODUCTS_GONE, UNSEEN or UNDONE; change: what would be done."""

    key: str
    group: str
    fingerprint: str
    kind: str
    reason: str
    change: str = str(Change.REMOVE)


@dataclass(frozen=True)
class HeldEntry(HeldRow):
    """What is held, with its number for people. decision: ALLOW, KEEP, or None while nobody decided."""

    id: int = 0
    connector: str = ""
    account: str = ""
    origin: str = GUARD
    since: datetime = datetime.min
    plan_id: int | None = None
    decision: str | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None

    @property
    def owner(self) -> str:
        """Connector and account, as people write them."""
        return f"{self.connector}/{self.account}" if self.account else self.connector


def entries(
    engine: sa.Engine, connector: str | None = None, account: str | None = None, *which: sa.ColumnElement[bool]
) -> list[HeldEntry]:
    """All that is held or was decided about, of a connector or an account of it or of all; the newest last.

    which: only such rows of the table.
    """
    columns = [held.c.group_key.label("group"), *(column for column in held.c if column.name != "group_key")]
    mine = list(which)
    mine += [held.c.connector == connector] if connector is not None else []
    mine += [held.c.account == account] if account is not None else []
    return read_rows(engine, sa.select(*columns).where(*mine).order_by(held.c.id), HeldEntry)


def undecided(engine: sa.Engine, connector: str | None = None, account: str | None = None) -> list[HeldEntry]:
    """What waits for a person or the source."""
    return entries(engine, connector, account, held.c.decision.is_(None))


def hold(
    engine: sa.Engine,
    connector: str,
    account: str,
    origin: str,
    rows: Iterable[HeldRow],
    *,
    plan_id: int | None = None,
    only: Collection[str] | None = None,
) -> None:
    """Note all that `origin` (the name of a doubted input, such as "assortment") holds back now, in one transaction.

    What it held before and does not hold any more is released, of these keys (`only`) where not all was looked at. A
    row that is held again keeps `since` and what a person decided; an ALLOW only while its fingerprint is the same.
    Never call it in a dry run.
    """
    found = {row.key: row for row in rows}
    mine = sa.and_(held.c.connector == connector, held.c.account == account, held.c.origin == origin)
    looked_at = mine if only is None else mine & among(held.c.key, storable(sorted(only)))
    over = looked_at & ~among(held.c.key, storable(sorted(found))) if found else looked_at
    own = {"connector": connector, "account": account, "origin": origin, "plan_id": plan_id}
    values = [_values(row) | own for row in found.values()]
    statement = insert(held)
    new = statement.excluded
    still = sa.or_(held.c.decision == KEEP, held.c.fingerprint == new.fingerprint)
    changed: dict[str, sa.ColumnElement[Any]] = {
        name: new[name] for name in ("group_key", "fingerprint", "change", "kind", "reason", "plan_id")
    }
    changed |= {name: sa.case((still, held.c[name])) for name in ("decision", "decided_at", "decided_by")}
    with engine.begin() as connection:
        connection.execute(held.delete().where(over))
        if values:
            connection.execute(statement.on_conflict_do_update(index_elements=_CONFLICT, set_=changed), values)
            analyze_if_many(connection, held, len(values))


def release(engine: sa.Engine, connector: str, account: str, keys: Collection[str], origin: str = GUARD) -> None:
    """Forget what was held under these keys: it went, or the source wants it again."""
    mine = (held.c.connector == connector) & (held.c.account == account) & (held.c.origin == origin)
    with engine.begin() as connection:
        connection.execute(held.delete().where(mine, among(held.c.key, storable(sorted(keys)))))


def decide(engine: sa.Engine, ids: Collection[int], decision: str, by: str) -> int:
    """A person's word about entries, by their numbers: ALLOW or KEEP; returns how many there were.

    It is in the history as done by that person.
    """
    decided = {"decision": decision, "decided_at": sa.func.now(), "decided_by": by}
    with engine.begin() as connection:
        statement = held.update().where(among(held.c.id, ids)).values(**decided).returning(held)
        rows = connection.execute(statement).all()
        said = (
            Effect(
                one.connector,
                one.account,
                one.group_key,
                (EffectRow(one.key, decision, one.reason, fingerprint_before=one.fingerprint),),
                Author(person=by),
            )
            for one in rows
        )
        note_effects(connection, said)
    return len(rows)


def memory_of(context: RunContext[Any], origin: str = GUARD) -> Memory:
    """What counts beside a plan of this account: what went in the last 24 hours, what a person decided."""
    mine = (removal.c.connector == context.connector) & (removal.c.account == context.account)
    since = context.clock() - WINDOW
    with context.installation.engine.connect() as connection:
        gone = connection.execute(sa.select(removal).where(mine, removal.c.at > since)).all()
    which = held.c.decision.is_not(None) & held.c.origin.in_([origin, UNDONE])
    known = entries(context.installation.engine, context.connector, context.account, which)
    decided = [one for one in known if one.origin == origin]
    return Memory(
        removed={row.key: row.group_key for row in gone if not row.replaced},
        replaced={row.key: row.group_key for row in gone if row.replaced},
        allowed={one.key: one.fingerprint for one in decided if one.decision == ALLOW},
        kept=frozenset(one.key for one in decided if one.decision == KEEP),
        undone={
            one.key: Undone(one.fingerprint, one.reason)
            for one in known
            if one.origin == UNDONE and one.decision == KEEP and origin == GUARD
        },
        excluded=excluding.excluded_now(context) if origin == GUARD else {},
    )


def anything_allowed(context: RunContext[Any]) -> bool:
    """Whether a person let something go, or released what was undone or excluded: a run has work without any news."""
    allowed = (held.c.decision == ALLOW) & held.c.origin.in_([GUARD, UNDONE])
    found = entries(context.installation.engine, context.connector, context.account, allowed)
    return bool(found) or excluding.anything_included(context)


def mark_undone(
    connection: sa.Connection,
    connector: str,
    account: str,
    rows: Collection[HeldRow],
    by: str,
    plan_id: int | None,
    done_by: int | None,
) -> None:
    """Note, in the caller's transaction, what a person undid: plans keep it until the source wants something else.

    rows: key, group and change as the source wants it, its word for that (guard.wants) as the fingerprint. done_by:
    the plan that brought it, None: one of long ago. A mark of a key by a newer plan says what the source wanted later,
    which was undone before: that counts, unless the source wants nothing there by now (its change is KEEP).
    """
    if not rows:
        return
    own = {"connector": connector, "account": account, "origin": UNDONE, "plan_id": plan_id, "decided_by": by}
    values = [_values(row) | own | {"kind": UNDONE, "decision": KEEP} for row in rows]
    now = {"since": sa.func.now(), "decided_at": sa.func.now()}
    statement = insert(held).values(**now)
    changed: dict[str, sa.ColumnElement[Any]] = {
        name: statement.excluded[name] for name in values[0] if name not in _CONFLICT
    }
    newer = (held.c.plan_id > done_by if done_by is not None else sa.true()) & (held.c.change != Change.KEEP)
    changed |= {name: sa.case((newer, held.c[name]), else_=changed[name]) for name in ("fingerprint", "change")}
    connection.execute(statement.on_conflict_do_update(index_elements=_CONFLICT, set_=changed | now), values)


def unmark_undone(connection: sa.Connection, connector: str, account: str, left: Mapping[str, str]) -> None:
    """Forget, in the caller's transaction, the marks of keys under which is left what the source wants, as they say."""
    keys, words = (sa.literal(storable(list(some)), sa.ARRAY(sa.Text)) for some in (left.keys(), left.values()))
    there = sa.func.unnest(keys, words).table_valued("key", "word").render_derived()
    as_wanted = (held.c.key == there.c.key) & (held.c.fingerprint == there.c.word)
    mine = (held.c.connector == connector) & (held.c.account == account) & (held.c.origin == UNDONE)
    connection.execute(held.delete().where(mine, as_wanted))


def settle(
    context: RunContext[Any],
    plan: "pd.DataFrame",
    held_rows: "pd.DataFrame",
    owned: "pd.DataFrame",
    plan_id: int,
    says: Collection[str] = (),
) -> None:
    """Bring what is held of this account up to a guarded plan that is stored now; never for one that is only looked at.

    What is wanted again, and what the target does not hold any more, is forgotten, a person's KEEP included; what the
    plan does not judge stays as it was. So are marks of what was undone, where the source wants something else, and
    what is excluded by now, unless a person keeps it: that holds when the exclusion ends. says: the groups of which the
    plan has all that the source wants, where it is not of all that we own.
    """
    import pandas as pd

    from imagesync_pipelines.sync.frames import among as among_rows
    from imagesync_pipelines.sync.guard import RULING

    before = entries(context.installation.engine, context.connector, context.account)
    # An undo may have ended since the run looked at the target: of that the plan knows nothing.
    if marks := [one for one in before if one.origin == UNDONE and one.since < context.started_at]:
        _end_marks(context, marks, plan, owned, says)
    known = pd.Series([one.key for one in before if one.origin == GUARD], dtype="str")
    rows = [
        HeldRow(str(key), str(group), str(fingerprint), str(ruling), str(reason), str(change))
        for key, group, fingerprint, ruling, reason, change in zip(
            *(held_rows[name] for name in ("key_before", "group", "fingerprint_before", RULING, "reason", "change")),
            strict=True,
        )
    ]
    # A replacement that is held has the new fingerprint, and the old key.
    wanted = plan.loc[plan["fingerprint_after"].notna() & (plan["key_before"] == plan["key"]), "key"]
    left = plan.loc[(plan[RULING] == Ruling.EXCLUDED) & plan["key_before"].notna(), "key_before"]
    kept = pd.Series([one.key for one in before if one.origin == GUARD and one.decision == KEEP], dtype="str")
    left = left[~among_rows(left, kept)]
    over = known[among_rows(known, pd.concat([wanted, left])) | ~among_rows(known, owned["key"])]
    if rows or len(over):
        looked_at = {*over, *(row.key for row in rows)}
        hold(
            context.installation.engine,
            context.connector,
            context.account,
            GUARD,
            rows,
            plan_id=plan_id,
            only=looked_at,
        )


def _end_marks(
    context: RunContext[Any],
    marks: Sequence[HeldEntry],
    plan: "pd.DataFrame",
    owned: "pd.DataFrame",
    all_of: Collection[str],
) -> None:
    """Forget marks by which a plan kept nothing, though it says what the source wants there; and those released.

    A mark where nothing is, and of which a plan says nothing that has all that the source wants in its group (a proven
    one of all, or one of `all_of`), stays for the case that the source wants that again. Till then its change is KEEP:
    what an undo brings back there, the source wants to be gone.
    """
    from imagesync_pipelines.sync.acknowledging import is_whole
    from imagesync_pipelines.sync.guard import RULING

    kept = set(plan.loc[plan[RULING] == Ruling.KEPT, "key"])
    says = plan["fingerprint_after"].notna() | (plan["change"] == Change.REMOVE) | (plan[RULING] == Ruling.LIMIT)
    said = set(plan.loc[says, "key"])
    over = [one.key for one in marks if one.key not in kept and (one.key in said or one.decision == ALLOW)]
    if over:
        release(context.installation.engine, context.connector, context.account, over, UNDONE)
    again = [one.id for one in marks if one.change == Change.KEEP and one.key in kept]
    of_all = not (plan[RULING] == Ruling.UNPROVEN).any() and is_whole(plan, owned)
    groups, listed = frozenset(all_of), {*plan["key"], *over}
    silent = [one for one in marks if (of_all or one.group in groups) and one.key not in listed]
    gone = [one.id for one in silent if one.change != Change.KEEP and one.fingerprint]
    for ids, change in ((again, Change.ADD), (gone, Change.KEEP)):
        if ids:
            with context.installation.engine.begin() as connection:
                connection.execute(held.update().where(among(held.c.id, ids)).values(change=str(change)))


def note_leaving(context: RunContext[Any], plan: "pd.DataFrame") -> None:
    """Note, before it happens, what a plan takes away without a person's word; what is older than a day is forgotten.

    Noted before, so that a run that is killed counts; and by key, so that the run after it counts it once.
    """
    from imagesync_pipelines.sync.guard import RULING, is_replacement

    leaving = plan[(plan["change"] == Change.REMOVE) | is_replacement(plan)]
    if RULING in leaving:
        leaving = leaving[leaving[RULING] != Ruling.ALLOWED]
    now, replaced = context.clock(), is_replacement(leaving)
    rows = [
        {
            "connector": context.connector,
            "account": context.account,
            "key": storable(str(key)),
            "group_key": storable(str(group)),
            "replaced": bool(other),
            "at": now,
        }
        for key, group, other in zip(leaving["key_before"], leaving["group"], replaced, strict=True)
    ]
    mine = (removal.c.connector == context.connector) & (removal.c.account == context.account)
    statement = insert(removal)
    changed = {name: statement.excluded[name] for name in ("group_key", "replaced", "at")}
    with context.installation.engine.begin() as connection:
        connection.execute(removal.delete().where(mine, removal.c.at <= now - WINDOW))
        if rows:
            keys = ["connector", "account", "key"]
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)
            analyze_if_many(connection, removal, len(rows))


def _values(row: HeldRow) -> dict[str, Any]:
    """A row as the table has it."""
    text = storable({field.name: getattr(row, field.name) for field in fields(HeldRow)})
    return {"group_key" if name == "group" else name: value for name, value in text.items()}


def sentences(waiting: Sequence[HeldEntry]) -> list[str]:
    """What is told of undecided entries: one sentence for each reason, with what to type."""
    told: dict[tuple[str, str], list[HeldEntry]] = {}
    for one in waiting:
        told.setdefault((one.kind, one.reason), []).append(one)
    return [_sentence(some) for some in told.values()]


def told(context: RunContext[Any]) -> list[str]:
    """What every run of this account tells of what is held."""
    return sentences(undecided(context.installation.engine, context.connector, context.account))


def nothing_is_held_back(context: RunContext[Any]) -> CheckResult:
    """Nothing waits for a person: no removal is held back by a limit or a doubt."""
    import pandas as pd

    waiting = undecided(context.installation.engine, context.connector, context.account)
    shown = pd.DataFrame([(one.owner, one.key, one.reason) for one in waiting], columns=["of", "key", "reason"])
    said = " ".join(sentences(waiting)) or languages.told("nothing is held back")
    return CheckResult(not waiting, said, {"number": len(waiting), "held": Table(shown)})


def _sentence(some: Sequence[HeldEntry]) -> str:
    first = min(some, key=lambda one: one.since)
    plans = {one.plan_id for one in some}
    (plan_id,) = plans if len(plans) == 1 else (None,)
    does = _DOES[first.kind]
    if first.kind == LIMIT and plan_id is not None:
        does = languages.told(f"`imagesync apply {plan_id}` carries them out; {does}")
    return languages.told(
        f"{len(some)} of {first.owner} are held back since {first.since.astimezone(UTC):%Y-%m-%d %H:%M} "
        f"UTC: {first.reason.removeprefix('held back: ')}; {does}."
    )
