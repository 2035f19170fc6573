"""One message when something is newly held back, and one a day as long as anything is, to IMAGESYNC_ALERT_URLS."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg

from imagesync_pipelines import languages
from imagesync_pipelines.defs.alerts import NOBODY, tell
from imagesync_pipelines.languages import N_
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.alerts import Alert, KeptAlert, forget_alert, kept_alerts
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.sync.held import HeldEntry, sentences, undecided

LOOK_SECONDS = 120
A_DAY = timedelta(days=1)
HELD, DIGEST = N_("held back"), N_("held back, of a day")
SHOWN = 20


def build_held_alert() -> dg.SensorDefinition:
    """The sensor: what is newly held back, of each account; then all of it once a day."""

    @dg.sensor(
        name="held_alert",
        description="One message when something is newly held back, then one a day as long as anything is.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def held_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        settings, now = load_settings(Settings), datetime.now(UTC)
        if not settings.alert_urls:
            return dg.SkipReason(NOBODY)
        with open_installation(settings) as place:
            waiting = undecided(place.engine)
            told = [*kept_alerts(place.engine, error=HELD), *kept_alerts(place.engine, error=DIGEST)]
            if not waiting:
                forget_alert(place.engine, "", "", DIGEST)
            news = held_alerts(waiting, told, settings.webserver_url.rstrip("/"), now)
            ended = partial(over, waiting)
            sent = tell(place.engine, news, settings, context.log, now, timedelta(0), ended).sent
        return dg.SkipReason(f"{len(waiting)} rows are held back and undecided; {sent} messages sent.")

    return held_alert


def held_alerts(waiting: Sequence[HeldEntry], told: Sequence[KeptAlert], link: str, now: datetime) -> list[Alert]:
    """What is to be told now.

    waiting: all that is undecided. told: what was told before of what is held; one that waits to be sent says enough.
    """
    by_owner: dict[tuple[str, str], list[HeldEntry]] = {}
    for entry in waiting:
        by_owner.setdefault((entry.connector, entry.account), []).append(entry)
    last = {(one.connector, one.partition): one for one in told if one.error == HELD}
    digest = next((one for one in told if one.error == DIGEST), None)
    found = []
    for owner, entries in by_owner.items():
        before = last.get(owner)
        new = [one for one in entries if before is None or (before.sent_at is not None and one.since > before.sent_at)]
        if new:
            title = languages.told(f"imagesync: {len(new)} newly held back of {entries[0].owner}")
            found.append(Alert(*owner, HELD, title, _text(entries), link))
    begun = [one.sent_at for one in (last.values() if digest is None else [digest]) if one.sent_at is not None]
    if waiting and begun and now - min(begun) >= A_DAY:
        title = languages.told(f"imagesync: {len(waiting)} are held back and wait for somebody's word")
        found.append(Alert("", "", DIGEST, title, _text(waiting), link))
    return found


def over(waiting: Sequence[HeldEntry], told: Sequence[KeptAlert]) -> list[KeptAlert]:
    """Of what was told, the accounts of which nothing is held any more: what is held next is news again."""
    owners = {(entry.connector, entry.account) for entry in waiting}
    return [one for one in told if one.error == HELD and (one.connector, one.partition) not in owners]


def _text(entries: Sequence[HeldEntry]) -> str:
    lines = sentences(entries)
    more = (
        [languages.told(f"… and {len(lines) - SHOWN} more reasons: `imagesync held list`.")]
        if len(lines) > SHOWN
        else []
    )
    return "\n".join([*lines[:SHOWN], *more])
