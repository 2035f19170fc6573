"""What the API answers of the quality of main pictures: how channels stand, what to do next, the pictures with why."""

from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from imagesync_pipelines.quality import queries as quality
from imagesync_pipelines.quality.rules import TO_DO, rule_sets
from imagesync_pipelines.web.catalogue.api.calls import NOT_MODIFIED, Reader, answered, documented
from imagesync_pipelines.web.catalogue.api.routes import Cursor
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.queries import decode_cursor, encode_cursor
from imagesync_pipelines.web.service import Text

router = APIRouter(tags=["quality"])

LONGEST_NAME = 200
MOST_DAYS = 1_000
OF_MANY = {**NOT_MODIFIED, **documented()}
Name = Annotated[Text, Query(max_length=LONGEST_NAME)]
Score = Annotated[int, Field(ge=0, le=100, description="50 or less: the marketplace refuses it; 100: nothing found")]


class Standing(BaseModel):
    """How main pictures stood on a day."""

    model_config = ConfigDict(from_attributes=True)

    day: date
    pictures: int = Field(examples=[1200])
    failing: int = Field(description="those that the marketplace refuses", examples=[31])
    score: float = Field(description="the mean", examples=[88.4])


class ChannelQuality(BaseModel):
    """How the main pictures of one kind of an account stand by a rule set, and did on the day of judging before."""

    model_config = ConfigDict(from_attributes=True)

    rule_set: str = Field(examples=["amazon"])
    connector: str = Field(examples=["plytix"])
    account: str
    kind: str = Field(description="what the pictures are of, in the connector's words")
    now: Standing
    before: Standing | None


class ToDo(BaseModel):
    """What a person can do about findings."""

    rule_set: str = Field(examples=["amazon"])
    to_do: str = Field(examples=["cut_out"])
    title: str = Field(examples=["Cut the product out, on pure white"])
    listings: int = Field(description="those that need it", examples=[41])
    frees: int = Field(description="those that nothing else holds back", examples=[12])


class Unmeasured(BaseModel):
    """Main pictures of an account that nobody has measured."""

    model_config = ConfigDict(from_attributes=True)

    connector: str
    account: str
    pictures: int
    failed: int = Field(description="those of them that could not be measured")
    problem: str = Field(description="why, of one of those")


class Quality(BaseModel):
    """How every channel stands, the worst first; what to do next, the most useful first."""

    channels: list[ChannelQuality]
    to_do: list[ToDo]
    not_measured: list[Unmeasured]


class Trend(BaseModel):
    """How main pictures stood on each day of judging, the oldest first; a day on which nobody judged is left out."""

    days: list[Standing]


class BrokenRule(BaseModel):
    """A rule that a picture breaks."""

    rule: str = Field(examples=["background"])
    title: str = Field(examples=["Background not pure white"])
    severity: Literal["refused", "rank", "advice"]
    sentence: str
    to_do: str = Field(examples=["Cut the product out, on pure white"])


class JudgedPicture(BaseModel):
    """A main picture as a rule set judges it."""

    score: Score
    rule_set: str = Field(examples=["amazon"])
    connector: str = Field(examples=["plytix"])
    account: str
    code: str = Field(description="what people call what it is a picture of", examples=["803721"])
    name: str
    kind: str
    product_id: int | None = Field(description="our product, if it is one of ours", examples=[12])
    picture: str | None = Field(description="its address, if it has one")
    sha256: str
    refused: bool
    findings: list[BrokenRule] = Field(description="the worst first")
    not_looked_at: list[str] = Field(description="rules whose measure is not known: neither passed nor broken")
    judged_at: datetime


class JudgedPage(BaseModel):
    """A page of judged pictures, the worst first."""

    items: list[JudgedPicture]
    next_cursor: str | None = Field(description="for the next page; null on the last one")


@router.get("/quality", response_model=Quality, responses=OF_MANY)
def quality_of_channels(request: Request, opened: Here, _: Reader) -> Response:
    """How the main pictures of every channel stand, where it goes, and what to do next; see docs/quality.md."""
    known = rule_sets(opened.quality)
    with opened.engine.connect() as connection:
        found = Quality(
            channels=[ChannelQuality.model_validate(one) for one in quality.summary(connection)],
            to_do=[ToDo(**one._asdict(), title=TO_DO[one.to_do]) for one in quality.what_next(connection, known)],
            not_measured=[Unmeasured.model_validate(one) for one in quality.not_measured(connection)],
        )
    return answered(request, found)


@router.get("/quality/trend", response_model=Trend, responses=OF_MANY)
def trend_of_quality(
    request: Request,
    opened: Here,
    _: Reader,
    rule_set: Annotated[Text, Query(min_length=1, max_length=LONGEST_NAME)],
    connector: Name = "",
    account: Name = "",
    kind: Name = "",
    days: Annotated[int, Query(ge=1, le=MOST_DAYS, description="so many of the newest days of judging")] = 90,
) -> Response:
    """How main pictures stood by a rule set, day by day: all of them, or those of a connector, an account, a kind."""
    with opened.engine.connect() as connection:
        found = quality.trend(connection, quality.Asked(rule_set, connector, account, kind), days)
    return answered(request, Trend(days=[Standing.model_validate(one) for one in found]))


@router.get("/quality/pictures", response_model=JudgedPage, responses=OF_MANY)
def judged_pictures(
    request: Request,
    opened: Here,
    _: Reader,
    rule_set: Name = "",
    connector: Name = "",
    account: Name = "",
    kind: Name = "",
    code: Name = "",
    rule: Annotated[Text, Query(max_length=LONGEST_NAME, description="those that break this rule")] = "",
    highest: Annotated[int, Query(ge=0, le=100, description="with this score or less; 50: those refused")] = 100,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Main pictures with their score by each rule set and why, the worst first; every filter must be true of them."""
    asked = quality.Asked(
        rule_set, connector, account, kind, rule, code=code, highest=None if highest == 100 else highest
    )
    after = quality.Place(*decode_cursor(cursor, (int, str, str, str, str))) if cursor else None
    with opened.engine.connect() as connection:
        found, following = quality.pictures(connection, rule_sets(opened.quality), asked, after, limit)
    items = [JudgedPicture.model_validate(quality.as_json(one)) for one in found]
    page = JudgedPage(items=items, next_cursor=encode_cursor(following) if following else None)
    return answered(request, page, page.next_cursor)
