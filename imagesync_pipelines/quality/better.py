"""Pictures that products have already and that would be the better main picture: a channel would take them.

Of our own tables alone, for these can be pinned; what other systems show first their sources decide.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.products.channel_pictures import version_of
from imagesync_pipelines.quality.rules import REFUSED, Judgement, RuleSet, Severity, judge, told
from imagesync_pipelines.quality.scores import judgement_of
from imagesync_pipelines.quality.storing import measures_of
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.facts import Measures
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_score


class Better(NamedTuple):
    """A better main picture. before, after: ids of product images; why: what comes after "because"."""

    product_id: int
    before: int
    after: int
    why: str


Judged = Sequence[tuple[RuleSet, Judgement]]
"""What each of some rule sets says of a picture."""


def better_mains(
    connection: sa.Connection, known: Mapping[str, RuleSet], product_ids: Collection[int]
) -> dict[int, Better]:
    """The better main picture of each of the products that has one, by their ids, of those that were measured."""
    mains: dict[int, list[sa.Row]] = {}
    for row in connection.execute(_mains(product_ids)):
        mains.setdefault(row.product_id, []).append(row)
    refused = {one: rows for one, rows in mains.items() if any(row.score <= REFUSED for row in rows)}
    others = connection.execute(_others(refused)).all() if refused else ()
    measures = measures_of(connection, {row.sha256 for row in others})
    best: dict[int, tuple[int, Better]] = {}
    for other in others:
        main = refused[other.product_id][0]
        present = [
            (known[row.rule_set], judgement_of(row.score, row.findings))
            for row in refused[other.product_id]
            if row.rule_set in known
        ]
        # Another side of a product is no better front view of it.
        if other.sha256 not in measures or (main.is_front and not other.is_front):
            continue
        score, why = compared(present, measures[other.sha256])
        if why and (main.product_id not in best or score > best[main.product_id][0]):
            best[main.product_id] = score, Better(main.product_id, main.id, other.id, why)
    return {product_id: one for product_id, (_, one) in best.items()}


def compared(present: Judged, measures: Measures) -> tuple[int, str]:
    """The least score of a picture, and why it would be better than the present one, of which that was said.

    '' where it would not be: it is refused too, or nobody looked whether it has what the present one is refused for.
    """
    judged = [(rule_set, now, judge(measures, rule_set)) for rule_set, now in present]
    score = min((then.score for _, _, then in judged), default=0)
    if score <= REFUSED:
        return score, ""
    told_of, unseen = [], dict[str, None]()
    for rule_set, now, then in judged:
        refusals = [one for one in now.findings if one.severity == Severity.REFUSED]
        if any(one.rule in then.not_looked_at for one in refusals):
            return score, ""
        sentences = (told(rule, one.value) for one in refusals if (rule := rule_set.rule(one.rule)) is not None)
        if first := next(sentences, ""):
            told_of.append(
                languages.told(f"{rule_set.name} refuses the present one ({first.rstrip('.')}) and would take this one")
            )
        unseen |= dict.fromkeys(
            rule.title for rule in rule_set.rules if rule.id in then.not_looked_at and rule.severity == Severity.REFUSED
        )
    if unseen and told_of:
        told_of.append(languages.told(f"not looked at in it: {', '.join(unseen)}"))
    return score, "; ".join(told_of)


_SHOWN, _SCORE, _IMAGE = channel_picture.c, picture_score.c, product_image.c
# What was judged is the picture that is there now, and no former one of the same identity.
_IS_IMAGE = sa.and_(
    _IMAGE.product_id == _SHOWN.product_id,
    _IMAGE.source == _SHOWN.connector,
    _IMAGE.external_id == _SHOWN.key,
    _SHOWN.account == "",
    _SHOWN.version == version_of(product_image),
)


def _mains(product_ids: Collection[int]) -> sa.Select:
    """What rule sets say of the primary images of products, the worst first."""
    same = (_SCORE[name] == _SHOWN[name] for name in ("connector", "account", "code"))
    return (
        sa.select(_SHOWN.product_id, _IMAGE.id, _IMAGE.is_front, _SCORE.rule_set, _SCORE.score, _SCORE.findings)
        .join_from(channel_picture, product_image, _IS_IMAGE)
        .join(picture_score, sa.and_(*same))
        .where(among(_SHOWN.product_id, product_ids), _SHOWN.is_main, _IMAGE.is_primary)
        .order_by(_SCORE.score, _SCORE.rule_set)
    )


def _others(product_ids: Collection[int]) -> sa.Select:
    """Their other images, as their sources order them."""
    return (
        sa.select(_SHOWN.product_id, _IMAGE.id, _IMAGE.is_front, _SHOWN.sha256)
        .join_from(channel_picture, product_image, _IS_IMAGE)
        .where(among(_SHOWN.product_id, product_ids), ~_IMAGE.is_primary, _SHOWN.sha256 != "")
        .order_by(_IMAGE.priority, _IMAGE.id)
    )
