"""The main pictures that were judged, with what was measured of them: pages of them, and which products are refused."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from imagesync_pipelines.quality.queries import Asked, JudgedPicture, Place, pictures
from imagesync_pipelines.quality.rules import REFUSED, SEVERITIES, TO_DO, RuleSet, Source
from imagesync_pipelines.quality.storing import measures_of
from imagesync_pipelines.storage.facts import Measures
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_score
from imagesync_pipelines.web.catalogue.queries import decode_cursor, encode_cursor

AT_ONCE = 500
# A product has a few listings, each judged by a few rule sets; of more, these are the worst.
MOST_OF_A_PRODUCT = 30
_PLACE = (int, str, str, str, str)
_SCORE, _PICTURE = picture_score.c, channel_picture.c
_SAME = (
    *(_PICTURE[name] == _SCORE[name] for name in ("connector", "account", "code")),
    _PICTURE.is_main,
    _SCORE.score <= REFUSED,
)


class Judged(NamedTuple):
    """A main picture as it was judged, and what was measured of it; None: that is forgotten."""

    picture: JudgedPicture
    measures: Measures | None


RuleSets = Mapping[str, RuleSet]


def page(
    connection: sa.Connection, known: RuleSets, asked: Asked, cursor: str, limit: int
) -> tuple[list[Judged], str | None]:
    """So many pictures from a cursor on, the worst first, and the next cursor. Raises CursorError."""
    after = Place(*decode_cursor(cursor, _PLACE)) if cursor else None
    found, following = _measured(connection, known, asked, after, limit)
    return found, encode_cursor(following) if following is not None else None


def all_of(connection: sa.Connection, known: RuleSets, asked: Asked) -> Iterator[list[Judged]]:
    """All of them, the worst first, a batch in memory at a time."""
    found, following = _measured(connection, known, asked, None, AT_ONCE)
    yield found
    while following is not None:
        found, following = _measured(connection, known, asked, following, AT_ONCE)
        yield found


def of_product(engine: sa.Engine, known: RuleSets, product_id: int) -> list[Judged]:
    """The main pictures of a product's listings, the worst first."""
    with engine.connect() as connection:
        return _measured(connection, known, Asked(product_ids=[product_id]), None, MOST_OF_A_PRODUCT)[0]


def _measured(
    connection: sa.Connection, known: RuleSets, asked: Asked, after: Place | None, limit: int
) -> tuple[list[Judged], Place | None]:
    found, following = pictures(connection, known, asked, after, limit)
    measures = measures_of(connection, {one.sha256 for one in found})
    return [Judged(one, measures.get(one.sha256)) for one in found], following


def words(known: RuleSets) -> dict[str, Any]:
    """What templates need to tell findings."""

    def source_of(channel: str, rule: str) -> Source | None:
        found = known[channel].rule(rule) if channel in known else None
        return known[channel].sources.get(found.source) if found is not None else None

    def titles_of(channel: str, rules: tuple[str, ...]) -> list[str]:
        found = (known[channel].rule(rule) for rule in rules if channel in known)
        return [rule.title for rule in found if rule is not None]

    return {
        "source_of": source_of,
        "titles_of": titles_of,
        "REFUSED": REFUSED,
        "SEVERITIES": SEVERITIES,
        "TO_DO": TO_DO,
    }


def is_refused(channel: str, product_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether a channel refuses the main picture of one of a product's listings."""
    return sa.exists().where(*_SAME, _PICTURE.product_id == product_id, _SCORE.rule_set == channel)


def refusals(channel: str) -> sa.Select:
    """A row for each main picture that a channel refuses, of products and of what belongs to none."""
    return sa.select(_SCORE.score).where(_SCORE.rule_set == channel, _SCORE.score <= REFUSED)


def refused_products(channel: str) -> sa.Select:
    """The products (id) of which a channel refuses a main picture, once for each such listing; NULL for others' ones.

    By the index of the scores alone, and a look at each listing: PostgreSQL cannot tell how few they are.
    """
    product_id = sa.select(_PICTURE.product_id).where(*_SAME).limit(1).correlate(picture_score).scalar_subquery()
    return refusals(channel).with_only_columns(product_id.label("id"))
