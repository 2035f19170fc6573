"""What is worth telling of a product, who wants to be told, and when one that failed is tried again. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from imagesync_pipelines.languages import told, told_n
from imagesync_pipelines.storage.subscriptions import Event, Subscription
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings

ADDED, CHANGED, REMOVED, PRIMARY = "image.added", "image.changed", "image.removed", "primary.changed"
LEFT, BACK = "product.left", "product.returned"
OWN_EVENTS = (ADDED, CHANGED, REMOVED, PRIMARY, LEFT, BACK)
# Of what is written into other systems, see targets.py.
TARGETS_EVENTS = ("target.added", "target.changed", "target.removed", "target.moved")
EVENTS = (*OWN_EVENTS, *TARGETS_EVENTS)
TYPE, TARGET_TYPE, TEST_TYPE = "product.images.changed", "target.images.changed", "webhook.test"


@dataclass(frozen=True)
class Shown:
    """What a product shows: its images, the primary first, whose they are ('' for its own), whether the ERP has it."""

    images: Sequence[Mapping[str, Any]] = ()
    images_from: str = ""
    left: bool = False

    def as_json(self) -> dict[str, Any]:
        """As it is remembered."""
        return {"images": [dict(one) for one in self.images], "images_from": self.images_from, "left": self.left}

    @classmethod
    def of(cls, remembered: Mapping[str, Any] | None) -> "Shown":
        """What was remembered; nothing of a product that was never looked at."""
        return cls() if remembered is None else cls(**remembered)


NAMES = ("hash", "image_url", "thumbnail_url")
"""What an image says beside `connector` and `external_id`, by which it is the same one."""


def event_of(product_id: int, sku: str, at: datetime, before: Shown, after: Shown, message_id: str) -> Event | None:
    """What there is to tell of a product that changed at a moment; None where it shows what it showed.

    message_id: that of the event, if there is one.
    """
    old, new = ({_key(one): one for one in shown.images} for shown in (before, after))
    changes: list[dict[str, Any]] = [
        {"change": change, **_named(key), "old": was and _said(was), "new": now and _said(now)}
        for key in [*old, *(key for key in new if key not in old)]
        if (change := _change(was := old.get(key), now := new.get(key)))
    ]
    first, then = next(iter(before.images), None), next(iter(after.images), None)
    is_other = (first and _key(first)) != (then and _key(then))
    kinds = {f"image.{one['change']}" for one in changes} | ({PRIMARY} if is_other else set())
    if before.left != after.left:
        kinds.add(LEFT if after.left else BACK)
    if not kinds:
        return None
    data: dict[str, Any] = {
        "sku": sku,
        "product_id": product_id,
        "events": [one for one in OWN_EVENTS if one in kinds],
        "images_from": after.images_from,
        "left_erp": after.left,
        "changes": changes,
        "primary": {name: one and {**_named(_key(one)), **_said(one)} for name, one in (("old", first), ("new", then))},
    }
    ends = [one for change in changes for one in (change["old"], change["new"]) if isinstance(one, dict)]
    addresses = [one[name] for one in ends for name in NAMES[1:] if one[name]]
    connectors = {one["connector"] for one in (*before.images, *after.images)}
    touched = {str(one["connector"]) for one in changes}
    return Event(
        message_id=message_id,
        sku=sku,
        connectors=sorted(touched or connectors),
        events=data["events"],
        addresses=list(dict.fromkeys(addresses)),
        body=message(TYPE, at, data),
        changed_at=at,
    )


def _change(was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """What happened to an image; '' for nothing."""
    if was is None or now is None:
        return "added" if was is None else "removed"
    return "changed" if _said(was) != _said(now) else ""


def message(kind: str, at: datetime, data: Mapping[str, Any]) -> str:
    """A body as Standard Webhooks recommends it."""
    moment = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": moment, "data": data}, ensure_ascii=False, separators=(",", ":"))


def _key(image: Mapping[str, Any]) -> tuple[str, str]:
    return image["connector"], image["external_id"]


def _named(key: tuple[str, str]) -> dict[str, str]:
    return {"connector": key[0], "external_id": key[1]}


def _said(image: Mapping[str, Any]) -> dict[str, Any]:
    return {name: image[name] for name in NAMES}


def wants(one: Subscription, event: Event) -> bool:
    """Whether a subscription is told of an event; what it does not name it takes all of.

    Without a connector these are the changes of our own product images: what is written elsewhere has to be asked for.
    """
    is_own = set(TARGETS_EVENTS).isdisjoint(event.events)
    return (
        (is_own if not one.connectors else not set(one.connectors).isdisjoint(event.connectors))
        and (not one.events or not set(one.events).isdisjoint(event.events))
        and (not one.skus or any(fnmatchcase(event.sku, pattern) for pattern in one.skus))
    )


def wait_after(attempts: int, asked: float | None, settings: WebhooksOutSettings, chance: Callable[[], float]) -> float:
    """Seconds until the next attempt, after so many that failed in a row, this one included.

    It doubles up to the longest wait; half of it is by chance, so that receivers are not all tried at one moment. What
    the other side asked for is the least.
    """
    longest = settings.backoff_max_seconds
    doubled = min(settings.backoff_first_seconds * 2.0 ** min(attempts - 1, 60), longest)
    return max(doubled * (0.5 + chance() / 2), min(asked or 0.0, longest))


def given_up(one: Subscription, status: int | None, now: datetime, settings: WebhooksOutSettings) -> str:
    """Why a receiver that failed once more is not tried any more; '' where it is."""
    if status == 410:
        return told("it answered 410 Gone: it wants no messages any more")
    since = one.failing_since
    if since is None or now - since < timedelta(hours=settings.disable_after_hours):
        return ""
    n, day = one.attempts + 1, f"{since:%Y-%m-%d %H:%M}"
    return told_n(
        f"it accepted nothing since {day} UTC ({n} attempts)", f"it accepted nothing since {day} UTC ({n} attempts)", n
    )
