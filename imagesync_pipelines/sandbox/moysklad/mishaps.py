"""Faults in the words of МойСклад, beside the general ones of sandbox/faults.py."""

from collections.abc import Callable
from functools import partial
from random import Random

import orjson

from imagesync_pipelines.sandbox.faults import (
    Lost,
    LostAnswers,
    WireFault,
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

_GATEWAY = (502, 503, 504)


def refusal(place: str, code: int, part: str = "", **numbers: object) -> WireFault:
    """The API refuses a call by code, whatever it is; `place` is `<account> <door>`, `part` an entity or image."""
    error = refused(code, "", **numbers)
    return answer(error.status_of(), orjson.dumps(error.body()), JSON).at(place, part)


def gateway(place: str, status: int = 502) -> WireFault:
    """A page of HTML from the proxy before the API."""
    return html_page(status).at(place)


def _of_storage(fault: WireFault) -> Callable[..., WireFault]:
    return lambda file_id="": fault.at(STORAGE, file_id)


file_storage_unavailable = partial(refusal, code=51007)  # the API cannot reach its storage
xml_instead = _of_storage(xml_page())  # 200 with XML where the bytes of an image should be
half_an_image = _of_storage(truncated())
wrong_bytes = _of_storage(altered())  # of the right length


def storm(
    seed: int, doors: tuple[str, ...], lost: LostAnswers, *, calls: int = 100, share: float = 0.1
) -> list[WireFault]:
    """Faults for a share of the next calls, for FaultPlan.add; the same seed gives the same ones.

    `doors` are places of the API (`<account> <door>`): a call of theirs is reset, answered by the proxy, late, or done
    while its answer gets lost (that is noted in `lost`). Files of the other hosts are cut short, altered, or drip.
    """
    dice = Random(seed)
    faults: list[WireFault] = []
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
