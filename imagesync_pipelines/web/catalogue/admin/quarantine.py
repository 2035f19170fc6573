"""What waits for a person: items that were set aside."""

import logging
import re
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import sqlalchemy as sa
from fastapi import APIRouter, Form, HTTPException, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.dialects.postgresql import distinct_on
from starlette.responses import Response

from imagesync_pipelines.languages import N_, _, ngettext, told
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.storage.quarantine import REFUSED_STAGE, QuarantineTable
from imagesync_pipelines.storage.schema import plan as plan_table
from imagesync_pipelines.storage.schema import quarantine as quarantine_table
from imagesync_pipelines.sync.choosing import asked_again
from imagesync_pipelines.sync.plan_rows import PlanLine, plan_lines
from imagesync_pipelines.sync.tally import APPLY_STAGE
from imagesync_pipelines.web.catalogue.admin.articles import Cursor, meant_by, unmatched_articles
from imagesync_pipelines.web.catalogue.admin.runs import NothingToStartError, launched, replay_of, sync_of_account
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.plans import declared
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles
from imagesync_pipelines.web.catalogue.queries import rows_after
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

ROWS = 50
# The images of one replay; beyond that a run over everything is the quicker way.
MOST_REPLAYED = 1000
# Of the article numbers that no product has, so many stand with the quarantine.
FEW_ARTICLES = 10
# What a person can do, by the stage in which an item failed.
AT_THE_SOURCE = N_("Correct it where it comes from; the next run reads it again.")
ADVICE = {
    APPLY_STAGE: N_(
        "It could not be written. Every run tries it again; try it now when what the reason names is mended."
    ),
    REFUSED_STAGE: N_(
        "The account refuses it. Mend the picture where it comes from, or its settings, and try it again."
    ),
}
# Of a raw record that may be of any length.
SHOWN_CHARACTERS = 4000
# So many plans of an account are searched for its items.
_PLANS = 5
_ADDRESS = re.compile(r"""https?://[^\s"'<>\\^`{|}]+""")
_PICTURE = re.compile(r"\.(?:jpe?g|png|webp|gif|avif)(?:[?#]|$)", re.IGNORECASE)

Name = Annotated[str, Query(max_length=300)]


class ChosenItems(BaseModel):
    """Items of one connector, or account of a connector, by their numbers; none chosen means all of them."""

    connector: Annotated[str, Field(max_length=300, pattern=r"^[^\x00]*$")]
    ids: Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], Field(max_length=ROWS)] = []


class Aside(NamedTuple):
    """An item that was set aside. line: its row of a plan of its account, None where that has none.

    picture: as in RowPictures.
    """

    item: sa.Row
    line: PlanLine | None
    advice: str

    @property
    def picture(self) -> str:
        """The picture that the plan names, else the first address in what was read; '' where neither names one."""
        shown = self.line.shown if self.line is not None else None
        return (shown and (shown.after or shown.before)) or address_in(self.item.payload)


def address_in(payload: str) -> str:
    """The address of a picture in what was read of an item, else its first address; '' without any."""
    found: list[str] = _ADDRESS.findall(payload.replace("\\/", "/"))
    return next((one for one in found if _PICTURE.search(one)), next(iter(found), ""))


@router.get("/admin/quarantine", name="quarantine")
def quarantine(request: Request, opened: Here, _: Viewer, connector: Name = "", cursor: Cursor = "") -> Response:
    """What is in quarantine, what failed last first, of all or of one connector or account of it.

    With a name that has nothing there it is that of all. Article numbers that no product has stand below that of all.
    """
    columns = quarantine_table.c
    counts = sa.select(columns.connector, sa.func.count()).group_by(columns.connector).order_by(columns.connector)
    beginning = sa.func.left(sa.func.coalesce(columns.payload, ""), SHOWN_CHARACTERS).label("payload")
    names = ("id", "connector", "stage", "key", "group_key", "reason", "first_seen", "last_seen", "attempts", "run_id")
    with opened.engine.connect() as connection:
        connectors = {row[0]: row[1] for row in connection.execute(counts)}
        chosen = connector if connector in connectors else ""
        query = sa.select(*(columns[name] for name in names), beginning)
        query = query.where(columns.connector == chosen) if chosen else query
        order = (columns.last_seen, columns.id)
        items, next_cursor = rows_after(connection, query, order, cursor, ROWS, falling=True)
    articles, total = ([], 0) if chosen or cursor else unmatched_articles(opened, "", "", FEW_ARTICLES)[::2]
    context = {
        "connectors": connectors,
        "connector": chosen,
        "items": _asides(opened, items),
        "next_cursor": next_cursor,
        "can_choose": chosen == DEFAULT_SOURCE,
        "left_out": _left_out(opened.engine),
        "cursor": cursor,
        "articles": articles,
        "total": total,
        "products": meant_by(opened, articles),
        "token": lambda url: picture_token(opened, url),
    }
    return private_page(request, "admin/quarantine.html", context)


def _asides(opened: Opened, items: Sequence[sa.Row]) -> list[Aside]:
    """Items with the rows that a plan has of them: the newest of their account, else that of the run that met them."""
    plans, lines = Plans(opened.engine, opened.storage), dict[tuple[str, str], PlanLine]()
    for owner in {item.connector for item in items}:
        name, _, account = owner.partition("/")
        waiting = {item.key: item.run_id for item in items if item.connector == owner}
        made = [one for one in plans.all(name, {"account": account} if account else {}) if one.run_id is not None]
        for plan in [*made[:1], *(one for one in made[1:] if one.run_id in waiting.values())][:_PLANS]:
            keys = [key for key in waiting if (owner, key) not in lines]
            try:
                rows = plans.load(plan.id, keys).drop_duplicates("key")
                found = plan_lines(opened.engine, opened.storage, plan, declared(name), rows, {})
            except StorageError as error:
                log.info("what plan %s says of quarantined items of %r cannot be read: %s", plan.id, owner, error)
                continue
            lines |= {(owner, key): line for key, line in zip(rows["key"].tolist(), found, strict=True)}
    return [Aside(item, lines.get((item.connector, item.key)), ADVICE.get(item.stage, AT_THE_SOURCE)) for item in items]


class LeftOut(NamedTuple):
    """A plan that leaves rows out for a reason of its own, which no run will change: so many, and whose it is."""

    plan_id: int
    owner: str
    rows: int


def _left_out(engine: sa.Engine) -> list[LeftOut]:
    """Of each connector or account, what its newest plan leaves out."""
    account = plan_table.c.scope["account"].astext
    rejects = sa.cast(plan_table.c.counts["reject"].astext, sa.Integer)
    newest = (
        sa.select(plan_table.c.id, plan_table.c.connector, account.label("account"), rejects.label("rows"))
        .ext(distinct_on(plan_table.c.connector, account))
        .where(plan_table.c.run_id.is_not(None))
        .order_by(plan_table.c.connector, account, plan_table.c.id.desc())
        .subquery()
    )
    query = sa.select(newest).where(newest.c.rows > 0).order_by(newest.c.connector, newest.c.account)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [LeftOut(row.id, "/".join(filter(None, (row.connector, row.account))), row.rows) for row in rows]


@router.post("/admin/quarantine/replay", name="replay")
def replay(request: Request, opened: Here, who: Admin, chosen: Annotated[ChosenItems, Form()]) -> Response:
    """Try again: chosen images of the image database from the stored pages, products or entities of another connector.

    Where a connector knows no smaller part, or nothing was chosen, its account as a whole. What the account refused is
    sent again too: what was chosen of it, else all.
    """
    connector, _, account = chosen.connector.partition("/")
    if connector not in connector_titles():
        raise HTTPException(404, told("There is no such connector."))
    entries = QuarantineTable(opened.engine, chosen.connector).list()
    wanted = [entry for entry in entries if entry.id in chosen.ids] if chosen.ids else entries
    if chosen.ids and not wanted:
        raise NothingToStartError("Nothing of what was chosen is in quarantine any more. Reload the page.")
    whole = not chosen.ids and connector != DEFAULT_SOURCE
    again = {} if whole else asked_again(connector_named(connector), opened.engine, account, wanted)
    if connector != DEFAULT_SOURCE:
        run = sync_of_account(opened, connector, account, **again)
        QuarantineTable(opened.engine, chosen.connector).ask_again(chosen.ids)
        return launched(request, opened, who, run)
    if len(wanted) > MOST_REPLAYED:
        raise NothingToStartError(f"These are {len(wanted)} images: synchronise the whole image database instead.")
    return launched(request, opened, who, replay_of(again["external_ids"]))


@router.post("/admin/quarantine/drop", name="drop")
def drop(request: Request, opened: Here, who: Admin, chosen: Annotated[ChosenItems, Form()]) -> Response:
    """Forget chosen items; they come back when they fail again."""
    gone = QuarantineTable(opened.engine, chosen.connector).drop(chosen.ids)
    log.info("%s dropped %s items of %r from quarantine", who.name, gone, chosen.connector)
    said = ngettext(
        "{n} item is forgotten; what fails again comes back.",
        "{n} items are forgotten; what fails again comes back.",
        gone,
    )
    tell(request, said.format(n=gone) if gone else _("Choose what to forget."))
    return go_on(str(request.app.url_path_for("quarantine")))
