"""What a person does with subscriptions, on the terminal and on the page: both pass here.

Our database never holds a secret, only the name of the variable that holds it. One that is made here is shown once.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from imagesync_pipelines.accounts.file import OF_WEBHOOKS
from imagesync_pipelines.languages import N_, told, told_n
from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.registry import CONNECTORS, connectors
from imagesync_pipelines.settings import check_transport, load_settings
from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.alerts import end_alerts, kept_alerts
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.subscriptions import (
    DISABLED,
    Attempt,
    NewSubscription,
    Subscription,
    SubscriptionError,
)
from imagesync_pipelines.sync.choosing import our_product
from imagesync_pipelines.upstream.addresses import has_user, judge_url
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.purging import FORMS, NEW_BEGINNING, REVALIDATE, STANDARD, TEST_PATH, Message
from imagesync_pipelines.upstream.signing import PREFIX, WebhookSecretError, key_of, new_secret
from imagesync_pipelines.web.webhooks_out import collecting
from imagesync_pipelines.web.webhooks_out.delivering import REFERENCE, Outcome, Sender, send, usable_secrets
from imagesync_pipelines.web.webhooks_out.rules import EVENTS, TARGETS_EVENTS, TEST_TYPE, message
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
# No setting has such a name, and the accounts file may name none, so no subscription sends a secret that was given to
# us for something else.
_VARIABLE = re.compile(rf"env:{OF_WEBHOOKS}[A-Za-z0-9_]{{1,80}}")
_NO_VARIABLE = told(f"A secret is not kept here; set a variable {OF_WEBHOOKS}… and write env: and its name.")
_SHOPS_SECRET = N_(
    "Set the variable {name} to a secret that your shop knows, where runs work (.env, or the environment of every "
    "host) and restart what runs there."
)
_TOKEN = N_(
    "Set the variable {name} to the token of its API, where runs work (.env, or the environment of every host) and "
    "restart what runs there."
)
_MADE = N_(
    "Set this where runs work (.env, or the environment of every host) and restart what runs there; give the same "
    "secret to the receiver. It is shown only now:"
)
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}")


@dataclass(frozen=True)
class Made:
    """A subscription, and what a person has to do so that it works: sentences. A secret in them is shown only here."""

    subscription: Subscription
    todo: Sequence[str]

    @property
    def shows_secret(self) -> bool:
        """Whether one was made, which nobody can look up later."""
        return any(f"={PREFIX}" in one for one in self.todo)


def sender_of(place: Installation) -> Sender:
    """What telling works with, over an installation."""
    first = load_settings(ShowingSettings).image_db_own_images_first
    return Sender(place.engine, place.settings, load_settings(WebhooksOutSettings), own_images_first=first)


def add(sender: Sender, new: NewSubscription, *, on_page: bool = False) -> Made:
    """Add a subscription after looking at everything of it. Raises SubscriptionError and SettingsError.

    on_page: whoever asks sees no variable of this machine, and so may name none but the subscription's own.
    """
    new = checked(sender, replace(new, secret=new.secret or f"{REFERENCE}{variable_of(new.name)}"))
    if on_page:
        _own_secret(sender, new)
    # In this order: whoever removes the last one meanwhile sees it, or what he forgets is begun anew.
    made = subscriptions.add(sender.engine, new)
    collecting.begin(sender.engine, own_images_first=sender.own_images_first)
    return Made(made, _todo(sender, made))


def checked(sender: Sender, new: NewSubscription) -> NewSubscription:
    """The same with its defaults, when it can be. Raises SubscriptionError saying what is wrong, and SettingsError."""
    if not _NAME.fullmatch(new.name):
        raise SubscriptionError("The name of a webhook has lower-case letters, digits, - and _, at most 40 of them.")
    form = FORMS.get(new.form)
    if form is None:
        raise SubscriptionError(f"There is no form {new.form!r}; there are {', '.join(FORMS)}.")
    url = (new.url or form.at).strip()
    if not url:
        raise SubscriptionError("Give the address that is to be told, such as --url https://shop.example.com/hooks.")
    if has_user(url):
        raise SubscriptionError("The address holds a user name or password; secrets are only in variables.")
    check_transport("the address of the webhook", url, sender.shared.environment)
    judged = judge_url(url, sender.settings.allowed_hosts, sender.resolve)
    if isinstance(judged, UpstreamError) and not judged.retryable:
        raise SubscriptionError(f"{judged}; hosts of your own network are named in WEBHOOKS_OUT_ALLOWED_HOSTS.")
    if not _VARIABLE.fullmatch(new.secret):
        raise SubscriptionError(_NO_VARIABLE)
    _known(N_("There is no event {one!r}; there are: {known}."), new.events, EVENTS)
    _known(N_("There is no connector {one!r}; there are: {known}."), new.connectors, CONNECTORS)
    _possible(new)
    options = {name: value for name, value in new.options.items() if value}
    no_option = N_("There is no option of {form} {one!r}; there are: {known}.")
    _known(no_option, list(options), form.options, form=form.name)
    if missing := [name for name in form.needed if name not in options]:
        option = missing[0]
        raise SubscriptionError(f"{form.name} needs the option {option}, such as --option {option}=….")
    if (header := options.get("header")) and not _HEADER.fullmatch(str(header)):
        raise SubscriptionError("The option header is the name of a header, such as x-revalidate-secret.")
    return replace(new, url=url, options=options)


def _own_secret(sender: Sender, new: NewSubscription) -> None:
    """Refuse a secret that is not this subscription's alone: most forms send it to the address that was typed."""
    own = variable_of(new.name)
    others = {one for known in subscriptions.every(sender.engine) for one in (known.secret, known.old_secret)}
    if not re.fullmatch(f"{REFERENCE}{own}(_[0-9]+)?", new.secret) or new.secret in others:
        raise SubscriptionError(
            f"On this page the secret of {new.name} is in {own}, or {own}_2 and so on, and in no variable of another "
            "webhook; on the terminal `imagesync webhook add` takes others."
        )


def _known(said: str, given: Sequence[str], known: Sequence[str] | Mapping[str, Any], **values: str) -> None:
    for one in given:
        if one not in known:
            raise SubscriptionError(said.format(one=one, known=", ".join(known) or N_("none"), **values))


def targets() -> list[str]:
    """The connectors that write into other systems; the others bring our own product images."""
    return [one.name for one in connectors() if one.groups_of is not our_product]


def _possible(new: NewSubscription) -> None:
    """Refuse events that no connector of the subscription has: it would never be told of them."""
    elsewhere = [one for one in new.connectors if one in targets()]
    of_target = [one for one in new.events if one in TARGETS_EVENTS]
    if of_target and not elsewhere:
        raise SubscriptionError(
            f"{of_target[0]} is about what is written into other systems; name the connector that writes it: "
            f"{', '.join(targets())}."
        )
    if elsewhere and new.events and not of_target:
        raise SubscriptionError(f"Of {elsewhere[0]} the events are {', '.join(TARGETS_EVENTS)}; name any of them, too.")


def variable_of(name: str) -> str:
    """The variable that a subscription's secret is in, where none is named."""
    return f"{OF_WEBHOOKS}{name.upper().replace('-', '_')}_SECRET"


def next_variable(reference: str) -> str:
    """The one after it: …_SECRET, …_SECRET_2, …_SECRET_3."""
    name = reference.removeprefix(REFERENCE)
    before, _, number = name.rpartition("_")
    return f"{before}_{int(number) + 1}" if number.isdecimal() else f"{name}_2"


def rotate(sender: Sender, name: str, secret: str = "", hours: float | None = None) -> Made:
    """Sign with a secret in another variable from now on, and with the one before too for a while.

    Again, as long as that variable is not set: the same one, with a secret made anew where one is made.
    Raises SubscriptionError.
    """
    before, now = subscriptions.named(sender.engine, name), sender.now()
    # Asked for again before the new one is set: the one that signs until then stays the one before.
    is_set = bool(sender.variables().get(before.secret.removeprefix(REFERENCE)))
    waits = before.old_secret if before.old_secret_until and now < before.old_secret_until and not is_set else None
    keeps = waits or before.secret
    secret = secret or (before.secret if waits else f"{REFERENCE}{next_variable(before.secret)}")
    if not _VARIABLE.fullmatch(secret):
        raise SubscriptionError(_NO_VARIABLE)
    lasts = timedelta(hours=sender.settings.rotation_hours if hours is None else hours)
    subscriptions.rotate(sender.engine, before, secret, keeps, now + lasts)
    made = subscriptions.named(sender.engine, name)
    before_it, until = keeps.removeprefix(REFERENCE), f"{made.old_secret_until:%Y-%m-%d %H:%M}"
    return Made(made, [*_todo(sender, made), told(f"{before_it} signs too until {until} UTC; then remove it.")])


def _todo(sender: Sender, one: Subscription) -> list[str]:
    """What is still to be done for its secret; where none is set, one is made and shown."""
    name = one.secret.removeprefix(REFERENCE)
    value = sender.variables().get(name)
    signs = one.form == STANDARD
    if not value:
        if not signs:
            return [(_SHOPS_SECRET if one.form == REVALIDATE else _TOKEN).format(name=name)]
        return [_MADE, f"{name}={new_secret().get_secret_value()}"]
    if signs:
        try:
            key_of(usable_secrets(replace(one, old_secret=None), sender.now(), {name: value})[0])
        except WebhookSecretError as error:
            return [told(f"The variable {name} is set, but {error}.")]
    return [told(f"The variable {name} is set.")]


def resume(sender: Sender, name: str) -> str:
    """Go on where it was; gives what there is to say of it, '' for nothing. Raises SubscriptionError."""
    gone = subscriptions.resume(sender.engine, name)
    _end_alert(sender, name)
    if not gone:
        return ""
    one, now = subscriptions.named(sender.engine, name), sender.now()
    said = told_n(
        f"up to {gone} events were removed meanwhile (IMAGESYNC_KEEP_DAYS) and are not sent",
        f"up to {gone} events were removed meanwhile (IMAGESYNC_KEEP_DAYS) and are not sent",
        gone,
    )
    subscriptions.note(sender.engine, one, Attempt(one.cursor, "", "", 0, now, False, None, 0.0, said))
    return f"; {told(f'{said}: read /api/v1/changes once')}"


def _end_alert(sender: Sender, name: str) -> None:
    """Tell that it is over that a receiver is disabled, where that was told."""
    told = [one for one in kept_alerts(sender.engine, error=DISABLED) if one.partition == name]
    end_alerts(sender.engine, told, sender.now())


def remove(sender: Sender, name: str) -> None:
    """Forget it; after the last one nothing is remembered any more. Raises SubscriptionError."""
    subscriptions.remove(sender.engine, name)
    _end_alert(sender, name)
    collecting.end_without_readers(sender.engine)


def test(sender: Sender, name: str) -> Outcome:
    """Send one message that says that it is a test, and write what came of it. Raises SubscriptionError."""
    one, at = subscriptions.named(sender.engine, name), sender.now()
    new, began = collecting.message_id(), sender.timing.clock()
    base = str(one.options.get(NEW_BEGINNING) or one.options.get("from") or "https://example.com")
    address = f"{base.rstrip('/')}{TEST_PATH}"
    body = message(TEST_TYPE, at, {"webhook": name})
    asked = one if one.form in (STANDARD, REVALIDATE) else replace(one, options={**one.options, "from": "", "to": ""})
    outcome = send(sender, asked, [Message(new, "test", [address], body)])
    seconds = round(sender.timing.clock() - began, 3)
    made = Attempt(None, new, "test", 1, at, not outcome.said, outcome.status, seconds, outcome.said)
    subscriptions.note(sender.engine, one, made)
    return outcome


def first_of(sender: Sender, given: str) -> int:
    """The event that a replay begins with, by its number or the moment of a change. Raises SubscriptionError."""
    if given.isdecimal() and len(given) < 19:
        return int(given)
    try:
        moment = datetime.fromisoformat(given).astimezone()
    except (ValueError, OverflowError):
        raise SubscriptionError(
            "Replay from the number of an event, or from a moment such as 2026-11-30T08:00+01:00."
        ) from None
    return subscriptions.first_event_since(sender.engine, moment)


def shown_address(url: str, *, whole: bool) -> str:
    """An address without its query, and without its path unless whole: both may be what only the receiver knows."""
    parts = urlsplit(url)
    path = parts.path if whole else "/…" if parts.path.strip("/") else ""
    return f"{parts.scheme}://{parts.netloc}{path}"


PAUSED = N_("a person paused it")


def wanted_by(one: Subscription) -> str:
    """What a subscription wants, for people."""
    parts = [*one.connectors, *one.events, *(f"SKU {pattern}" for pattern in one.skus)]
    return ", ".join(parts) or N_("every change of product images")


def state_of(one: Subscription) -> str:
    """How it is, for people."""
    if one.said:
        return f"{one.state}: {one.said}"
    if one.failing_since is not None:
        n, since = one.attempts, f"{one.failing_since:%Y-%m-%d %H:%M}"
        if not one.due_at:
            return told_n(f"{n} attempts failed since {since} UTC", f"{n} attempts failed since {since} UTC", n)
        due = f"{one.due_at:%Y-%m-%d %H:%M:%S}"
        return told_n(
            f"{n} attempts failed since {since} UTC, tried again at {due} UTC",
            f"{n} attempts failed since {since} UTC, tried again at {due} UTC",
            n,
        )
    return str(one.state)
