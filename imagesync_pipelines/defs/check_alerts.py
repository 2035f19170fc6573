"""One message per asset check that failed without failing its run, to the targets of IMAGESYNC_ALERT_URLS."""

import hashlib
from datetime import UTC, datetime

import dagster as dg

from imagesync_pipelines.defs.alerts import Message, Sent, is_due, recall, remember, send_alert
from imagesync_pipelines.defs.summaries import clean_text
from imagesync_pipelines.settings import Settings, load_settings

EVENTS_PER_TICK = 200

_EVALUATIONS = dg.DagsterEventType.ASSET_CHECK_EVALUATION


def check_message(found: dg.AssetCheckEvaluation, settings: Settings, last: Sent | None, run_id: str | None) -> Message:
    """The message about one failed check: which sentence is not true, of what, by how much, where to look."""
    asset = found.asset_key.to_user_string()
    lines = [f"Check: {found.check_name} of {asset}"]
    if found.partition:
        lines.append(f"Partition: {found.partition}")
    lines.append(clean_text(found.description or "It gave no reason.", settings.alert_urls))
    if last is not None and last.suppressed:
        lines.append(f"{last.suppressed} more failures of this check were not sent since {last.at:%Y-%m-%d %H:%M} UTC.")
    base = settings.webserver_url.rstrip("/")
    lines.append(f"{base}/runs/{run_id}" if run_id else f"{base}/assets/{asset}?view=checks")
    where = f" for {found.partition}" if found.partition else ""
    return Message(f"imagesync: {found.check_name} is not true{where}", "\n".join(lines))


def build_failed_check_alert() -> dg.SensorDefinition:
    """The sensor: checks of every connector that failed with severity ERROR; warnings are for the UI."""

    @dg.sensor(
        name="failed_check_alert",
        description="One message per failed check to IMAGESYNC_ALERT_URLS; repeats are counted, not sent.",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def failed_check_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        settings = load_settings(Settings)
        events = _events_after(context.instance, context.cursor)
        if context.cursor is None:
            context.update_cursor(str(_newest(context.instance)))
            return dg.SkipReason("Begins with what happens from now on.")
        told = 0
        for event in events:
            if settings.alert_urls and _is_news(event):
                told += _tell(context, event, settings)
            context.update_cursor(str(event.storage_id))
        if not settings.alert_urls:
            return dg.SkipReason("Nobody is told: IMAGESYNC_ALERT_URLS is empty.")
        return dg.SkipReason(f"{len(events)} check evaluations, {told} messages sent.")

    return failed_check_alert


def _events_after(instance: dg.DagsterInstance, cursor: str | None) -> list[dg.EventLogRecord]:
    if cursor is None:
        return []
    after = int(cursor) if cursor.isdecimal() else 0
    wanted = dg.EventRecordsFilter(event_type=_EVALUATIONS, after_cursor=after)
    return list(instance.event_log_storage.get_event_records(wanted, limit=EVENTS_PER_TICK, ascending=True))


def _newest(instance: dg.DagsterInstance) -> int:
    newest = instance.event_log_storage.get_event_records(
        dg.EventRecordsFilter(event_type=_EVALUATIONS), limit=1, ascending=False
    )
    return newest[0].storage_id if newest else 0


def _evaluation(event: dg.EventLogRecord) -> dg.AssetCheckEvaluation | None:
    found = event.event_log_entry.dagster_event
    data = found.event_specific_data if found is not None else None
    return data if isinstance(data, dg.AssetCheckEvaluation) else None


def _is_news(event: dg.EventLogRecord) -> bool:
    found = _evaluation(event)
    # A blocking check fails its run, and that is told by the other sensor.
    return (
        found is not None and not found.passed and found.severity is dg.AssetCheckSeverity.ERROR and not found.blocking
    )


def _tell(context: dg.SensorEvaluationContext, event: dg.EventLogRecord, settings: Settings) -> int:
    """Send one message unless the same check of the same partition was told lately; returns how many were sent."""
    found = _evaluation(event)
    if found is None:
        return 0
    kind = f"{found.asset_key.to_user_string()}\n{found.check_name}\n{found.partition}"
    key = f"imagesync/check_alerts/{hashlib.sha256(kind.encode()).hexdigest()[:32]}"
    last, now = recall(context.instance, key, context.log), datetime.now(UTC)
    if last is not None and not is_due(last, now, settings.alert_repeat_minutes):
        remember(context.instance, key, Sent(last.at, last.suppressed + 1), context.log)
        return 0
    run_id = event.event_log_entry.run_id or None
    for problem in send_alert(settings.alert_urls, check_message(found, settings, last, run_id)):
        context.log.warning(problem)
    remember(context.instance, key, Sent(now), context.log)
    return 1
