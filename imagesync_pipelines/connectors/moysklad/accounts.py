"""`[moysklad]` of the accounts file: the main account and its child accounts.

[moysklad.main]
token = "env:MOYSKLAD_MAIN_TOKEN"     # or login = "admin@company" and password = "env:…"
token_kind = "user"                   # or "solution", "draft_solution": a call weighs differently
account_id = "8c0f…"                  # МойСклад's own id: no other account passes; requests may name accounts by it
permanent_links = true                # paid tariffs: images are read without a call each; default false

[moysklad.children.north]
token = "env:MOYSKLAD_NORTH_TOKEN"
mode = "first"                        # "off" (default), "first", "all"; or the old sync_images, sync_images_all
ownership = "managed"                 # default: images that the owner added stay; "mirror": they do not
match_field = "externalCode"          # default; or "code", "article", "barcode"
max_image_mb = 10                     # default; a larger image is not sent
reencode_too_large = false            # true: it is made smaller and sent
bulk_first_fill = false               # true: many entities in one request on a first fill
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from imagesync_pipelines.accounts.file import (
    Accounts,
    AccountsError,
    KnownAccounts,
    Secret,
    Section,
    Text,
    account_key,
    sound_accounts,
)
from imagesync_pipelines.languages import told

MAIN = "main"
API_URL = "https://api.moysklad.ru/api/remap/1.2"

MatchField = Literal["externalCode", "code", "article", "barcode"]
"""By what an entity is found again in a child account."""


class TokenKind(StrEnum):
    """Whose token it is; a call weighs differently for each (docs/contracts/moysklad.md).

    Login and password are a user's.
    """

    SOLUTION = "solution"
    DRAFT_SOLUTION = "draft_solution"
    USER = "user"


class Mode(StrEnum):
    """Which images a child account gets: none, the first of each entity, or all (at most ten)."""

    OFF = "off"
    FIRST = "first"
    ALL = "all"


class Ownership(StrEnum):
    """Whose the images of a child account are.

    managed: those that its owner added stay. mirror: the account has what the main account has, and nothing else.
    """

    MANAGED = "managed"
    MIRROR = "mirror"


class _Account(Section):
    token: Secret | None = None
    login: Text = ""
    password: Secret | None = None
    url: Text = API_URL
    account_id: Text = ""
    token_kind: TokenKind = TokenKind.USER

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        pair = (self.login != "", self.password is not None)
        if (self.token is not None) == any(pair) or any(pair) != all(pair):
            raise ValueError("write token, or login and password together, and not both")
        if self.login and self.token_kind is not TokenKind.USER:
            raise ValueError('token_kind says whose token it is; with login and password leave it out, or write "user"')
        return self


class _Main(_Account):
    permanent_links: bool = False


class MoyskladAccount(_Main):
    """How to reach one account: a token, or login (user@company) and password. name: "main", or a child's alias.

    url: of the API, with its version. account_id: МойСклад's own id, '' when it was not given; else what answers must
    have it.
    """

    name: str


class _Images(Section):
    mode: Mode = Mode.OFF
    ownership: Ownership = Ownership.MANAGED
    match_field: MatchField = "externalCode"
    max_image_mb: Annotated[float, Field(gt=0, le=15)] = 10
    reencode_too_large: bool = False
    bulk_first_fill: bool = False


class MoyskladChild(_Images):
    """A child account and what it is to get.

    max_image_mb: a larger image is not sent (1 MB is 1,000,000 bytes). reencode_too_large: it is made smaller instead.
    bulk_first_fill: many entities in one request where the account has none of our images yet.
    """

    account: MoyskladAccount

    @property
    def alias(self) -> str:
        """Its name in the file, which is its Dagster partition too."""
        return self.account.name


class _Child(_Account, _Images):
    sync_images: bool | None = None
    sync_images_all: bool | None = None

    @model_validator(mode="after")
    def _one_mode(self) -> Self:
        flags = (self.sync_images, self.sync_images_all)
        if flags == (True, True):
            raise ValueError(
                'sync_images and sync_images_all are both true; write mode = "first" (the first image of each entity) '
                'or mode = "all" in their place'
            )
        if "mode" in self.model_fields_set and flags != (None, None):
            raise ValueError("mode and the old flags sync_images, sync_images_all say the same; keep mode only")
        return self


class MoyskladSection(Section):
    """`[moysklad]` as written."""

    main: _Main | None = None
    children: dict[Annotated[str, account_key("an alias", but=MAIN)], _Child] = Field(default_factory=dict)


@dataclass(frozen=True)
class MoyskladAccounts(KnownAccounts[MoyskladChild]):
    """The child accounts by alias, and the main account; None when the file has none, or it is wrong.

    off: those of wrong ones that say that they are switched off.
    """

    main: MoyskladAccount | None = None
    off: frozenset[str] = frozenset()

    @property
    def active(self) -> list[str]:
        """The aliases of the child accounts whose mode is not off, wrong ones included."""
        on = [alias for alias, child in self.by_name.items() if child.mode is not Mode.OFF]
        return sorted([*on, *(alias for alias in self.wrong if alias not in self.off)])


def section_of(name: str) -> str:
    """The section of an account in the file: "main", or a child's alias."""
    return "[moysklad.main]" if name == MAIN else f"[moysklad.children.{name}]"


def moysklad_accounts(accounts: Accounts) -> MoyskladAccounts:
    """The accounts of МойСклад in the accounts file. Raises AccountsError for what is wrong but for accounts.

    Where the main account is wrong, so is every child account: they get their images from it.
    """
    written, warnings = accounts.section("moysklad", MoyskladSection, "children", MAIN), list[str]()
    section, wrong, of_main = written.section, dict(written.wrong), written.common
    main = None if section.main is None else _known_as(MAIN, section.main)
    if (section.children or wrong) and main is None and not of_main:
        raise AccountsError("[moysklad.main]: missing; the child accounts get their images from it")
    if main is not None:
        try:
            warnings.extend(accounts.check_urls({"[moysklad.main] url": main.url}))
        except AccountsError as error:
            main, of_main = None, str(error)

    def make(alias: str, one: _Child) -> MoyskladChild:
        if main is None:
            raise AccountsError(of_main)
        child = _child(alias, one)
        warnings.extend(accounts.check_urls({f"[moysklad.children.{alias}] url": child.account.url}))
        return child

    children = sound_accounts(section.children, make, wrong)
    off = frozenset(alias for alias in wrong if _is_off(accounts.document["moysklad"]["children"][alias]))
    problems = (*filter(None, (of_main,)), *written.misnamed)
    return MoyskladAccounts(told("child account"), children, tuple(warnings), wrong, problems, main, off)


def _is_off(written: object) -> bool:
    """Whether a child account that is wrong says, as it is written, that it gets no images."""
    flags = ("sync_images", "sync_images_all")
    is_on = isinstance(written, Mapping) and (written.get("mode", Mode.OFF) != Mode.OFF or any(map(written.get, flags)))
    return not is_on


def _known_as(name: str, section: _Account) -> MoyskladAccount:
    return MoyskladAccount.model_construct(name=name, **section.model_dump(include=set(MoyskladAccount.model_fields)))


def _child(alias: str, section: _Child) -> MoyskladChild:
    images = section.model_dump(include=set(MoyskladChild.model_fields))
    if section.sync_images or section.sync_images_all:
        images["mode"] = Mode.ALL if section.sync_images_all else Mode.FIRST
    return MoyskladChild.model_construct(account=_known_as(alias, section), **images)
