"""What is set of a login at an identity provider (OpenID Connect), read by every catalogue; none: passwords alone.

Nothing here needs the library that speaks with the provider.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from imagesync_pipelines.settings import LOOPBACK_HOSTS, EnvironmentSettings
from imagesync_pipelines.web.catalogue.access import UserRole

CALLBACK = "/login/oidc/callback"
_NEEDED = ("client_id", "redirect_url", "roles")
_WRONG_ROLES = "groups and what their people may do are expected, e.g. shop-admins=admin staff=viewer"


class OidcSettings(EnvironmentSettings):
    """The login at an identity provider, each field OIDC_<FIELD>; without an issuer there is none."""

    model_config = SettingsConfigDict(env_prefix="OIDC_", extra="ignore", env_ignore_empty=True)

    issuer: str | None = Field(
        None, description="the identity provider as it calls itself, e.g. https://login.example.com; empty: none"
    )
    client_id: str = Field("", description="our name at the provider")
    client_secret: SecretStr | None = Field(None, description="our secret there; empty: a public client (PKCE alone)")
    redirect_url: str = Field(
        "", description=f"where it sends people back to, as registered there: https://images.example.com{CALLBACK}"
    )
    scopes: str = Field(
        "openid profile email", description="what is asked for; most providers need offline_access for refresh tokens"
    )
    roles: str = Field("", description="group=role, separated by blanks, e.g. shop-admins=admin staff=viewer")
    groups_claim: str = Field(
        "groups", description="claim that has a person's groups; a path is understood: realm_access.roles"
    )
    passwords: Literal["keep", "off"] = Field(
        "keep", description="off: no password of ours lets anybody in but those of OIDC_BREAK_GLASS"
    )
    break_glass: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="users of ours whose passwords are good even then, for the day that the provider fails"
    )
    recheck_minutes: int = Field(
        10, ge=1, le=720, description="whoever was disabled at the provider is out after so many minutes at the latest"
    )
    label: str = Field("", description="what the button calls the provider; empty: its host")
    allow_http: bool = Field(False, description="the provider is reached by plain http: it stands in a network of ours")
    hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="further hosts of the provider in private networks, if its addresses name other ones"
    )

    @field_validator("break_glass", "hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("roles")
    @classmethod
    def _are_roles(cls, value: str) -> str:
        for one in value.split():
            group, _, role = one.rpartition("=")
            if not group or role not in list(UserRole):
                raise ValueError(_WRONG_ROLES)
        return value

    @field_validator("issuer", "redirect_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc):
            raise ValueError("an address is expected, e.g. https://login.example.com")
        return value

    @field_validator("scopes")
    @classmethod
    def _has_openid(cls, value: str) -> str:
        if "openid" not in value.split():
            raise ValueError("openid has to be among them")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.issuer is None:
            return self
        if missing := [f"OIDC_{name.upper()}" for name in _NEEDED if not getattr(self, name)]:
            raise ValueError(f"with OIDC_ISSUER these are needed too: {', '.join(missing)}")
        if not may_be_asked(self.issuer, allow_http=self.allow_http):
            raise ValueError("OIDC_ISSUER has to be https; OIDC_ALLOW_HTTP=true where it stands in a network of yours")
        if urlsplit(self.redirect_url).path != CALLBACK:
            raise ValueError(f"OIDC_REDIRECT_URL has to end in {CALLBACK}")
        return self

    @property
    def name(self) -> str:
        """What people call the provider."""
        return self.label or urlsplit(self.issuer or "").hostname or ""

    @property
    def home(self) -> str:
        """The address of the catalogue for people."""
        return self.redirect_url.removesuffix(CALLBACK) + "/"

    @cached_property
    def role_of_group(self) -> Mapping[str, UserRole]:
        """group → role."""
        pairs = (one.rpartition("=") for one in self.roles.split())
        return {group: UserRole(role) for group, _, role in pairs}

    def role_of(self, claims: Mapping[str, object]) -> UserRole | None:
        """The most that a person's groups may do; None where none of them may come in."""
        roles = {role for group in groups_in(claims, self.groups_claim) if (role := self.role_of_group.get(group))}
        return next((role for role in (UserRole.ADMIN, UserRole.VIEWER) if role in roles), None)

    def takes_password_of(self, name: str) -> bool:
        """Whether this user of ours may come in by a password."""
        return self.issuer is None or self.passwords == "keep" or name in self.break_glass


def groups_in(claims: Mapping[str, object], claim: str) -> Iterable[str]:
    """The groups that a claim has: a list of names, or one name; the claim of that name goes before a path."""
    found = claims.get(claim)
    if claim not in claims:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return (found,)
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list | tuple) else ()


def may_be_asked(url: str, *, allow_http: bool) -> bool:
    """Whether an address of the provider is encrypted, or does not need it: on this machine, or somebody said so."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and (allow_http or parts.hostname in LOOPBACK_HOSTS))
