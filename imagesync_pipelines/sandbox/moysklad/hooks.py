"""The endpoints that manage webhooks and tokens (docs/contracts/moysklad.md)."""

from dataclasses import replace

from imagesync_pipelines.sandbox.answers import SentReply, replied
from imagesync_pipelines.sandbox.moysklad.answers import Json, malformed, refused
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.lists import read_page, window_of
from imagesync_pipelines.sandbox.moysklad.model import EntityType
from imagesync_pipelines.sandbox.moysklad.office import Ask
from imagesync_pipelines.sandbox.moysklad.webhooks import CREATE, DELETE, FIELDS, UPDATE, Webhook

LONGEST_URL = 255
MOST_OF_USERS, MOST_OF_SOLUTION = 5, 1
_ACTIONS, _DIFF_TYPES = (CREATE, UPDATE, DELETE), ("NONE", FIELDS)
_SCHEMES = ("http://", "https://")


def issue_token(ask: Ask) -> SentReply:
    """POST /security/token: a new token of the user, whose earlier one is no good any more."""
    if ask.principal.kind is not PrincipalKind.USER:
        raise refused(1017)
    return replied({"access_token": ask.office.principals.issue(ask.principal)})


def list_webhooks(ask: Ask) -> SentReply:
    """GET /entity/webhook."""
    hooks, page = ask.office.webhooks.of(ask.account.id), read_page(ask.query)
    rows = [_json(ask, hook) for hook in hooks[page.offset :][: page.limit]]
    meta = window_of(f"{ask.office.root}/entity/webhook", "webhook", len(hooks), page, ask.query)
    return replied({"meta": meta, "rows": rows})


def create_webhook(ask: Ask) -> SentReply:
    """POST /entity/webhook; five per kind and action for users, one per solution."""
    body = ask.body if isinstance(ask.body, dict) else {}
    hook = Webhook(
        id=ask.account.new_id(),
        account=ask.account.id,
        principal=ask.principal.name,
        entity_type=str(body.get("entityType")),
        action=str(body.get("action")),
        url=str(body.get("url")),
        diff_type=str(body.get("diffType", "NONE")),
        enabled=body.get("enabled") is not False,
    )
    _check(hook)
    alike = [
        one
        for one in ask.office.webhooks.of(ask.account.id)
        if (one.entity_type, one.action) == (hook.entity_type, hook.action)
    ]
    if any(one.url == hook.url for one in alike):
        raise malformed("Такой вебхук уже существует", "url", 412)
    is_user = ask.principal.kind is PrincipalKind.USER
    counted = [one for one in alike if is_user or one.principal == ask.principal.name]
    if len(counted) >= (MOST_OF_USERS if is_user else MOST_OF_SOLUTION):
        raise malformed("Превышено количество вебхуков", status=412)
    ask.office.webhooks.keep(hook)
    return replied(_json(ask, hook))


def change_webhook(ask: Ask) -> SentReply:
    """PUT /entity/webhook/{id}: another address, on or off."""
    hook = _found(ask)
    body = ask.body if isinstance(ask.body, dict) else {}
    changed = replace(hook, url=str(body.get("url", hook.url)), enabled=bool(body.get("enabled", hook.enabled)))
    _check(changed)
    ask.office.webhooks.keep(changed)
    return replied(_json(ask, changed))


def delete_webhook(ask: Ask) -> SentReply:
    """DELETE /entity/webhook/{id}."""
    ask.office.webhooks.drop(_found(ask).id)
    return SentReply()


def _found(ask: Ask) -> Webhook:
    hook = next((one for one in ask.office.webhooks.of(ask.account.id) if one.id == ask.ids["webhook"]), None)
    if hook is None:
        raise refused(1021)
    return hook


def _check(hook: Webhook) -> None:
    for name, good in (
        ("entityType", hook.entity_type in list(EntityType)),
        ("action", hook.action in _ACTIONS),
        ("diffType", hook.diff_type in _DIFF_TYPES and (hook.diff_type != FIELDS or hook.action == UPDATE)),
        ("url", hook.url.startswith(_SCHEMES) and len(hook.url) <= LONGEST_URL),
    ):
        if not good:
            raise malformed(f"Неверное значение поля {name}", name, 412)


def _json(ask: Ask, hook: Webhook) -> Json:
    return {
        "meta": {"href": f"{ask.office.root}/entity/webhook/{hook.id}", "type": "webhook"},
        "id": hook.id,
        "accountId": hook.account,
        "entityType": hook.entity_type,
        "action": hook.action,
        "diffType": hook.diff_type,
        "url": hook.url,
        "method": "POST",
        "enabled": hook.enabled,
    }
