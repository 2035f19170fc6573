"""How good main pictures are: by channel, what to do next, worst first, and as files for the photographer."""

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from starlette.responses import Response

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.quality.queries import Asked, not_measured
from imagesync_pipelines.quality.rules import TO_DO, RuleSet
from imagesync_pipelines.web.catalogue import judged, photographer
from imagesync_pipelines.web.catalogue.exporting import Exports, Visitor
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.products import RuleSetId
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles, render
from imagesync_pipelines.web.catalogue.standing import Channel
from imagesync_pipelines.web.logins import address_of
from imagesync_pipelines.web.service import Text

router = APIRouter(include_in_schema=False)

ROWS = 24
# Pictures that are not kept yet are made one after the other; an archive that takes longer is cut off.
ARCHIVE_SECONDS = 1800.0
# A score of more has nothing that is wrong.
WRONG = 99
Name = Annotated[Text, Query(max_length=300)]
Cursor = Annotated[Text, Query(max_length=2000)]


def asked(
    request: Request,
    channel: RuleSetId = "",
    connector: Name = "",
    account: Name = "",
    kind: Name = "",
    rule: RuleSetId = "",
    to_do: RuleSetId = "",
    alone: bool = False,
) -> Asked:
    """What the address asks for; without a channel, or with an unknown one, the first by which pictures are judged."""
    known = request.app.state.judged_by()
    chosen = channel if channel in known else next(iter(known), "")
    return Asked(chosen, connector, account, kind, rule, WRONG, to_do=to_do, alone=alone)


AskedFor = Annotated[Asked, Depends(asked)]


def query_of(asked: Asked, **further: str) -> str:
    """The same as the query of an address, what is not set left out; further goes before."""
    names = ("connector", "account", "kind", "rule", "to_do")
    values = {"channel": asked.rule_set, **{name: getattr(asked, name) for name in names}}
    values |= {"alone": "1" if asked.alone else "", **further}
    return "?" + urlencode({name: value for name, value in values.items() if value})


@router.get("/quality", name="quality")
def quality(request: Request, opened: Here, asked: AskedFor, cursor: Cursor = "") -> Response:
    """How each channel stands and where it goes, what to do next, and what is wrong, the worst first."""
    known, titles = request.app.state.rule_sets(), connector_titles()
    channels: list[Channel] = request.app.state.channels()
    with opened.engine.connect() as connection:
        rows, following = judged.page(connection, known, asked, cursor, ROWS) if channels else ([], None)
        unmeasured = not_measured(connection)
    chosen = next((one for one in channels if one.id == asked.rule_set), None)
    parts = chosen.parts if chosen is not None else []
    rule_set: RuleSet | None = known.get(asked.rule_set)
    accounts = {
        name: sorted({getattr(part, name) for part in parts} - {""}) for name in ("connector", "account", "kind")
    }
    context = {
        **judged.words(known),
        "channels": channels,
        "chosen": chosen,
        "unmeasured": unmeasured,
        "asked": asked,
        "judged": rows,
        "fields": (
            ("rule", N_("Rule"), [(one.id, one.title) for one in rule_set.rules] if rule_set else []),
            ("to_do", N_("What to do"), list(TO_DO.items())),
            ("connector", N_("Connector"), [(one, titles.get(one, one)) for one in accounts["connector"]]),
            ("account", N_("Account"), [(one, one) for one in accounts["account"]]),
            ("kind", N_("Kind"), [(one, one) for one in accounts["kind"]]),
        ),
        "cursor": cursor,
        "next_cursor": following,
        "most_pictures": photographer.MOST_PICTURES,
        "address": lambda **further: query_of(asked, **further),
        "token": lambda url: picture_token(opened, url),
    }
    return render(request, "quality.html", context)


@router.get("/quality/report/{form}", name="quality_report")
def report(
    request: Request, opened: Here, asked: AskedFor, form: Literal["csv", "zip"], channel: RuleSetId = ""
) -> Response:
    """What the photographer gets of the pictures that all pages show; in the archive are the worst of them."""
    # A page says which channel it shows instead; a file would be taken for what was asked.
    if channel not in ("", asked.rule_set):
        raise HTTPException(404, told(f"Nothing is judged by rules called {channel}."))
    if not asked.rule_set:
        raise HTTPException(404, told("Nothing was judged yet."))
    exports: Exports = request.app.state.exports
    known, visitor, name = request.app.state.rule_sets(), Visitor(address_of(request), has_key=False), asked.rule_set
    if form == "csv":
        parts = photographer.whole_table(opened.engine, known, asked)
        return exports.other(request, visitor, parts, f"pictures_{name}.csv", "text/csv; charset=utf-8")
    with opened.engine.connect() as connection:
        rows, _ = judged.page(connection, known, asked, "", photographer.MOST_PICTURES)
    archive = photographer.archive(known, rows, request.app.state.derivatives)
    return exports.as_it_comes(visitor, archive, f"pictures_{name}.zip", "application/zip", ARCHIVE_SECONDS)
