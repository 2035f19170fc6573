"""Faults in the words of МойСклад, beside the general ones of sandbox/faults.py.

What belongs here: ready answers of its hosts, and a seeded storm of them. What does not: what the API does by itself.
"""

from random import Random

import orjson

from imagesync_pipelines.sandbox.faults import (
    Fault,
    altered,
    answer,
    drip,
    html_page,
    latency,
    reset,
    truncated,
    xml_page,
)
from imagesync_pipelines.sandbox.moysklad.answers import JSON, refused
from imagesync_pipelines.sandbox.moysklad.hosts import CDN, STORAGE
from imagesync_pipelines.sandbox.plytix.losing import Lost, LostAnswers

_GATEWAY = (502, 503, 504)


def refusal(place: str, code: int, part: str = "", **numbers: object) -> Fault:
    """The API refuses a call by code, whatever it is; `place` is `<account> <door>`, `part` an entity or image."""
    error = refused(code, "", **numbers)
    return answer(error.status_of(), orjson.dumps(error.body()), JSON).at(place, part)


def file_storage_unavailable(place: str) -> Fault:
    """The API cannot reach its storage: 51007."""
    return refusal(place, 51007)


def gateway(place: str, status: int = 502) -> Fault:
    """A page of HTML from the proxy before the API."""
    return html_page(status).at(place)


def xml_instead(file_id: str = "") -> Fault:
    """The storage answers 200 with XML where the bytes of an image should be."""
    return xml_page().at(STORAGE, file_id)


def half_an_image(file_id: str = "") -> Fault:
    """The second half of an image does not come."""
    return truncated().at(STORAGE, file_id)


def wrong_bytes(file_id: str = "") -> Fault:
    """An image of the right length with wrong bytes in it."""
    return altered().at(STORAGE, file_id)


def storm(seed: int, doors: tuple[str, ...], lost: LostAnswers, *, calls: int = 100, share: float = 0.1) -> list[Fault]:
    """Faults for a share of the next calls, for FaultPlan.add; the same seed gives the same ones.

    `doors` are places of the API (`<account> <door>`): a call of theirs is reset, answered by the proxy, late, or done
    while its answer gets lost (that is noted in `lost`). Files of the other hosts are cut short, altered, or drip.
    """
    dice = Random(seed)  # noqa: S311 - made-up faults, no secret
    faults: list[Fault] = []
    for at in range(calls):
        if dice.random() >= share:
            continue
        place = dice.choice((*doors, STORAGE, CDN))
        if place in (STORAGE, CDN):
            faults.append(dice.choice((truncated(), altered(), drip(0.05))).at(place).after(at))
        elif dice.random() < 0.5:
            lost.lose(place, dice.choice(tuple(Lost)), skip=at)
        else:
            kinds = (reset(), html_page(dice.choice(_GATEWAY)), latency(0.05))
            faults.append(dice.choice(kinds).at(place).after(at))
    return faults
