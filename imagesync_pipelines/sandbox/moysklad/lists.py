"""Entities, images and webhooks as МойСклад writes them, and lists of them; webhooks and tokens are managed here."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from imagesync_pipelines.sandbox.answers import SentReply, replied
from imagesync_pipelines.sandbox.moysklad.answers import Json, malformed, refused
from imagesync_pipelines.sandbox.moysklad.filters import (
    ASSORTMENT_ORDERS,
    OF_ASSORTMENT,
    OF_TYPE,
    ORDERS,
    judge,
    ordered,
    read_filter,
    read_order,
)
from imagesync_pipelines.sandbox.moysklad.limits import MOSCOW, PrincipalKind
from imagesync_pipelines.sandbox.moysklad.model import WITH_IMAGES, EntityType, StockAccount, StockEntity, StockImage
from imagesync_pipelines.sandbox.moysklad.office import Ask, Office
from imagesync_pipelines.sandbox.moysklad.webhooks import CREATE, DELETE, FIELDS, UPDATE, Webhook

APPLICATION_JSON = "application/json"
MOST_EXPANDED = 100
PERMANENT = "downloadPermanentHref"
_EXPANDABLE = ("images", "product", "components")
_UI = "https://online.moysklad.ru/app/#good/edit?id="


@dataclass(frozen=True)
class Shape:
    """What of an entity is written out: its images, and their permanent links."""

    expand: bool = False
    permanent: bool = False


def shape_of(ask: Ask, limit: int | None = None) -> Shape:
    """What a call asks for; above 100 rows, and without a limit in lists (None is no list), it is not given."""
    paths = [path for path in ask.query.get("expand", "").split(",") if path]
    for path in paths:
        if path.split(".")[0] not in _EXPANDABLE:
            raise refused(1089, "expand")
    wanted = [name for name in ask.query.get("fields", "").split(",") if name]
    if len(wanted) > 1:
        raise refused(3042, "fields")
    if wanted and wanted[0] not in (PERMANENT, "stock"):
        raise refused(3043, "fields")
    permanent = PERMANENT in wanted
    if permanent and not ask.account.permanent_links and ask.office.switches.free_tariff == "refused":
        raise refused(1070)
    if limit is not None and limit > MOST_EXPANDED:
        return Shape()
    return Shape("images" in paths, permanent and ask.account.permanent_links)


def moment(at: datetime) -> str:
    """A time as МойСклад writes it: Moscow's, to the millisecond."""
    local = at.astimezone(MOSCOW)
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}"


def images_url(office: Office, entity: StockEntity) -> str:
    """The address of an entity's images."""
    return f"{office.root}/entity/{entity.type}/{entity.id}/images"


def images_of(account: StockAccount, entity: StockEntity) -> list[StockImage]:
    """The images that an entity lists."""
    if entity.images or entity.type is not EntityType.VARIANT or not account.switches.variant_shows_parent:
        return entity.images
    return account.entities[entity.product_id].images


def entity_json(ask: Ask, entity: StockEntity, shape: Shape) -> Json:
    """One entity; the number of its images is always there, their rows only in the expanded shape."""
    office, account = ask.office, ask.account
    body: Json = {
        "meta": _meta(office, entity),
        "id": entity.id,
        "accountId": account.id,
        "updated": moment(entity.updated),
        "name": entity.name,
        "externalCode": entity.external_code,
        "archived": entity.archived,
        "shared": True,
    }
    for name, value in (("code", entity.code), ("article", entity.article), ("syncId", entity.sync_id)):
        if value:
            body[name] = value
    if entity.barcodes:
        body["barcodes"] = [{"ean13": barcode} for barcode in entity.barcodes]
    if entity.type is EntityType.VARIANT:
        body["product"] = {"meta": _meta(office, account.entities[entity.product_id])}
        body["characteristics"] = [{"name": "Вариант", "value": entity.name}]
    if entity.type in WITH_IMAGES:
        images = images_of(account, entity)
        body["images"] = {
            "meta": window_of(images_url(office, entity), "image", len(images), RowsAsked(MOST_ROWS, 0), {})
        }
        if shape.expand:
            body["images"]["rows"] = [image_json(ask, entity, image, shape) for image in images]
    return body


def image_json(ask: Ask, entity: StockEntity, image: StockImage, shape: Shape) -> Json:
    """One image: there is no `id` in it, and `mediaType` is never that of the picture."""
    office, account = ask.office, ask.account
    download = f"{office.root}/download/{image.id}"
    meta = {
        "href": f"{images_url(office, entity)}/{image.id}",
        "type": "image",
        "mediaType": APPLICATION_JSON,
        "downloadHref": download,
    }
    if shape.permanent:
        meta[PERMANENT] = office.links.permanent(account, image)
    small = office.links.shown_miniature(account, image) if image.id in account.visited else None
    tiny = {"href": office.links.tiny(account, image), "type": "image", "mediaType": "image/png"}
    return {
        "meta": meta,
        "title": image.filename.rpartition(".")[0] or image.filename,
        "filename": image.filename,
        "size": image.size,
        "updated": moment(image.uploaded),
        "miniature": {
            "href": f"{download}?miniature=true",
            "type": "image",
            "mediaType": "image/png",
            "downloadHref": small,
        },
        "tiny": tiny,
    }


def _meta(office: Office, entity: StockEntity) -> Json:
    return {
        "href": f"{office.root}/entity/{entity.type}/{entity.id}",
        "metadataHref": f"{office.root}/entity/{entity.type}/metadata",
        "type": entity.type.value,
        "mediaType": APPLICATION_JSON,
        "uuidHref": f"{_UI}{entity.ui_id}",
    }


MOST_ROWS = 1000
BETA, WITHOUT_STOCK = "x-lognex-remap-beta-feature", "assortmentWithoutStock"


@dataclass(frozen=True)
class RowsAsked:
    """The rows that are asked for."""

    limit: int
    offset: int


def read_page(query: Mapping[str, str]) -> RowsAsked:
    """The page of a query: 1,000 rows when it names none."""
    limit, offset = query.get("limit", str(MOST_ROWS)), query.get("offset", "0")
    if not limit.isdecimal() or not 1 <= int(limit) <= MOST_ROWS:
        raise malformed(f"limit должен быть от 1 до {MOST_ROWS}", "limit")
    if not offset.isdecimal():
        raise malformed("offset должен быть не меньше 0", "offset")
    return RowsAsked(int(limit), int(offset))


def window_of(url: str, row_type: str, size: int, page: RowsAsked, query: Mapping[str, str]) -> Json:
    """The `meta` of a list: its total, its page and the addresses of the pages beside it."""
    meta: Json = {
        "href": _with(url, query),
        "type": row_type,
        "mediaType": APPLICATION_JSON,
        "size": size,
        "limit": page.limit,
        "offset": page.offset,
    }
    if page.offset + page.limit < size:
        meta["nextHref"] = _with(url, {**query, "limit": str(page.limit), "offset": str(page.offset + page.limit)})
    if page.offset > 0:
        before = max(0, page.offset - page.limit)
        meta["previousHref"] = _with(url, {**query, "limit": str(page.limit), "offset": str(before)})
    return meta


def list_entities(ask: Ask) -> SentReply:
    """GET /entity/{type}."""
    return _listed(ask, (ask.type,), ask.type.value, OF_TYPE[ask.type], ORDERS)


def assortment(ask: Ask) -> SentReply:
    """GET /entity/assortment: products, services, bundles and variants in one; the old one can filter by article."""
    is_new = WITHOUT_STOCK in ask.headers.getlist(BETA)
    known = OF_ASSORTMENT if is_new else OF_ASSORTMENT | {"article"}
    return _listed(ask, tuple(EntityType), "assortment", known, ASSORTMENT_ORDERS)


def _listed(
    ask: Ask, types: Iterable[EntityType], name: str, known: Collection[str], orders: Collection[str]
) -> SentReply:
    page = read_page(ask.query)
    shape = shape_of(ask, page.limit)
    conditions = read_filter(ask.query.get("filter", ""), known)
    order = read_order(ask.query["order"], orders) if ask.query.get("order") else []
    fits = judge(conditions)
    # Archived entities are shown to those who ask for them, or for an id.
    hides_archived = not any(condition.field in ("archived", "id") for condition in conditions)
    there = (one for one in ask.account.of_types(types) if not (hides_archived and one.archived))
    found = ordered(filter(fits, there), order)
    rows = [entity_json(ask, one, shape) for one in found[page.offset :][: page.limit]]
    meta = window_of(f"{ask.office.root}/entity/{name}", name, len(found), page, ask.query)
    return replied({"context": context_of(ask.office), "meta": meta, "rows": rows})


def context_of(office: Office) -> Json:
    """Who asks, as every list tells it."""
    meta = {"href": f"{office.root}/context/employee", "type": "employee", "mediaType": APPLICATION_JSON}
    return {"employee": {"meta": meta}}


def _with(url: str, query: Mapping[str, str]) -> str:
    return f"{url}?{urlencode(query)}" if query else url


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
    rows = [_hook_json(ask, hook) for hook in hooks[page.offset :][: page.limit]]
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
    return replied(_hook_json(ask, hook))


def change_webhook(ask: Ask) -> SentReply:
    """PUT /entity/webhook/{id}: another address, on or off."""
    hook = _hook(ask)
    body = ask.body if isinstance(ask.body, dict) else {}
    changed = replace(hook, url=str(body.get("url", hook.url)), enabled=bool(body.get("enabled", hook.enabled)))
    _check(changed)
    ask.office.webhooks.keep(changed)
    return replied(_hook_json(ask, changed))


def delete_webhook(ask: Ask) -> SentReply:
    """DELETE /entity/webhook/{id}."""
    ask.office.webhooks.drop(_hook(ask).id)
    return SentReply()


def _hook(ask: Ask) -> Webhook:
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


def _hook_json(ask: Ask, hook: Webhook) -> Json:
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
