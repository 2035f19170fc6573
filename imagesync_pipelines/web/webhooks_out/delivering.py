"""Telling receivers: each in the order of the events, all of them side by side, a slow one holding up nobody else.

A message that was not accepted is sent again before the next one is; nothing of a receiver is skipped.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.accounts.file import environment_variables
from imagesync_pipelines.languages import told, told_n
from imagesync_pipelines.settings import Settings, SettingsError, check_transport, remember_secret
from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.alerts import SIGN, Alert, note_alert
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines.storage.subscriptions import DISABLED, Attempt, StoredEvent, Subscription
from imagesync_pipelines.upstream.addresses import Resolve, resolve_host
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.fetch import FetchPolicy
from imagesync_pipelines.upstream.posting import post_once
from imagesync_pipelines.upstream.purging import FORMS, Message, postings, refused
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.signing import WebhookSecretError
from imagesync_pipelines.web.webhooks_out.collecting import FEED, begin, collect
from imagesync_pipelines.web.webhooks_out.rules import given_up, wait_after, wants
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings

# Events that are read at once; how long a receiver is told before the others have a turn; how often news are read.
READ, SLICE_SECONDS, LOOK_SECONDS = 100, 30.0, 1.0
REFERENCE = "env:"


@dataclass(frozen=True)
class Sender:
    """What telling works with. timing: clocks and chance; resolve: of host names; variables: of the environment."""

    engine: sa.Engine
    shared: Settings
    settings: WebhooksOutSettings
    own_images_first: bool = False
    timing: Timing = field(default_factory=Timing)
    resolve: Resolve = resolve_host
    variables: Callable[[], Mapping[str, str | None]] = environment_variables

    def now(self) -> datetime:
        """The time of day."""
        return datetime.fromtimestamp(self.timing.wall(), UTC)

    def policy(self) -> FetchPolicy:
        """How one message is sent."""
        seconds = self.settings.timeout_seconds
        return FetchPolicy(
            allowed_hosts=frozenset(self.settings.allowed_hosts),
            connect_timeout=min(10.0, seconds),
            read_timeout=seconds,
            total_deadline=seconds,
        )


@dataclass(frozen=True)
class Outcome:
    """What came of sending: '' in `said` where it was accepted. asked: seconds that the receiver asked to wait."""

    status: int | None = None
    said: str = ""
    asked: float | None = None


@dataclass
class Delivered:
    """How many events were noted, and how many deliveries were accepted and not."""

    noted: int = 0
    accepted: int = 0
    failed: int = 0

    def __str__(self) -> str:
        """For people."""
        return f"{self.noted} events noted, {self.accepted} deliveries accepted, {self.failed} not"


def deliver(sender: Sender, seconds: float) -> Delivered:
    """Note what changed and tell it, until there is nothing more to do now, or for so long.

    Raises AccountBusyError while another process does it.
    """
    done, at_work = Delivered(), dict[int, Future[tuple[int, int]]]()
    if subscriptions.every(sender.engine):
        begin(sender.engine, own_images_first=sender.own_images_first)
    until = sender.timing.clock() + seconds
    with (
        account_lock(sender.engine, FEED, 0) as held,
        ThreadPoolExecutor(sender.settings.parallel, "webhooks out") as pool,
    ):
        while True:
            held.check()
            in_time = sender.timing.clock() < until
            more = False
            if in_time:
                collected = collect(sender.engine, sender.shared, own_images_first=sender.own_images_first)
                done.noted, more = done.noted + collected.events, collected.more
                for one in subscriptions.waiting(sender.engine, sender.now()):
                    if one.id not in at_work:
                        at_work[one.id] = pool.submit(tell, sender, one, until)
            if not at_work and not more:
                return done
            if at_work:
                wait(at_work.values(), LOOK_SECONDS if in_time else None, FIRST_COMPLETED)
            for number in [number for number, future in at_work.items() if future.done()]:
                accepted, failed = at_work.pop(number).result()
                done.accepted, done.failed = done.accepted + accepted, done.failed + failed


def tell(sender: Sender, one: Subscription, until: float) -> tuple[int, int]:
    """Tell one receiver what waits for it; gives how many deliveries were accepted and not.

    It ends with what was not accepted, when somebody changed the subscription, and after a while.
    """
    until, accepted = min(until, sender.timing.clock() + SLICE_SECONDS), 0
    together = FORMS[one.form].together
    while read := subscriptions.next_events(sender.engine, one.cursor, READ):
        wanted = [event for event in read if wants(one, event)]
        for first in range(0, len(wanted), together):
            if sender.timing.clock() >= until:
                return accepted, 0
            told = wanted[first : first + together]
            made, outcome = attempt(sender, one, told)
            if outcome.said:
                _note_failure(sender, one, made, outcome)
                return accepted, 1
            accepted += 1
            if not subscriptions.accepted(sender.engine, one, made):
                return accepted, 0
            one = replace(one, cursor=told[-1].id, attempts=0, failing_since=None)
        if one.cursor < read[-1].id:
            if not subscriptions.pass_over(sender.engine, one, read[-1].id):
                return accepted, 0
            one = replace(one, cursor=read[-1].id)
    return accepted, 0


def attempt(sender: Sender, one: Subscription, told: Sequence[StoredEvent]) -> tuple[list[Attempt], Outcome]:
    """Send events once; what the log is to say of each, and what came of it."""
    messages = [Message(event.message_id, event.sku, event.addresses, event.body) for event in told]
    at, began = sender.now(), sender.timing.clock()
    outcome = send(sender, one, messages)
    seconds = sender.timing.clock() - began
    rest = (one.attempts + 1, at, not outcome.said, outcome.status, round(seconds, 3), outcome.said)
    return [Attempt(event.id, event.message_id, event.sku, *rest) for event in told], outcome


def send(sender: Sender, one: Subscription, messages: Sequence[Message]) -> Outcome:
    """Send messages once; no text holds a secret."""
    try:
        check_transport(f"the webhook {one.name}", one.url, sender.shared.environment)
    except SettingsError as error:
        return Outcome(said=str(error))
    secrets = usable_secrets(one, sender.now(), sender.variables())
    if not secrets:
        name = one.secret.removeprefix(REFERENCE)
        return Outcome(said=told(f"the variable {name} is not set where runs work"))
    status = None
    try:
        for posting in postings(one.form, one.url, one.options, secrets, messages, int(sender.timing.wall())):
            answer = post_once(posting, sender.policy(), timing=sender.timing, resolve=sender.resolve)
            status = answer.status
            if said := refused(one.form, answer.body):
                return Outcome(status, said)
    except UpstreamError as error:
        return Outcome(error.status, str(error), error.retry_after)
    except WebhookSecretError as error:
        return Outcome(said=str(error))
    except Exception as error:  # noqa: BLE001
        # One message that our own code cannot make costs no other receiver its messages. Its text may hold anything.
        kind = type(error).__name__
        return Outcome(said=told(f"it could not be sent: an error of imagesync's own ({kind})"))
    return Outcome(status)


def usable_secrets(one: Subscription, now: datetime, variables: Mapping[str, str | None]) -> list[SecretStr]:
    """The secrets that are valid now and set, the newest first."""
    old = [one.old_secret] if one.old_secret and one.old_secret_until and now < one.old_secret_until else []
    found = [variables.get(name.removeprefix(REFERENCE)) for name in [one.secret, *old]]
    values = [value for value in found if value]
    for value in values:
        remember_secret(value)
    return [SecretStr(value) for value in values]


def _note_failure(sender: Sender, one: Subscription, made: Sequence[Attempt], outcome: Outcome) -> None:
    now = sender.now()
    disabled = given_up(one, outcome.status, now, sender.settings)
    if disabled and sender.shared.alert_urls:
        # Before it is disabled: killed in between, it is noted again, and told once.
        note_alert(sender.engine, _alert(sender, one, disabled, outcome), now, timedelta(0))
    pause = wait_after(one.attempts + 1, outcome.asked, sender.settings, sender.timing.random)
    subscriptions.failed(sender.engine, one, made, now + timedelta(seconds=pause), disabled)


def _alert(sender: Sender, one: Subscription, why: str, outcome: Outcome) -> Alert:
    days = sender.shared.keep_days
    lines = [
        told(f"Nothing is sent to it any more: {why}."),
        told(f"The last attempt: {outcome.said}"),
        told_n(
            f"What happens meanwhile is kept for {days} days. When it works again: imagesync webhook resume {one.name}",
            f"What happens meanwhile is kept for {days} days. When it works again: imagesync webhook resume {one.name}",
            days,
        ),
    ]
    link = sender.shared.webserver_url.rstrip("/")
    return Alert("", one.name, DISABLED, SIGN + told(f"the webhook {one.name} is disabled"), "\n".join(lines), link)
