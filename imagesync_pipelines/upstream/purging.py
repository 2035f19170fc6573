"""What is sent to each kind of receiver: a signed message, a purge of a CDN's copies, a page to be made anew.

Pure; docs/contracts/cdn.md says what is known of the CDNs.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.upstream.posting import Posting
from imagesync_pipelines.upstream.signing import key_of, signed_headers

JSON = {"Content-Type": "application/json"}
STANDARD, REVALIDATE = "standard", "revalidate"
ZONE, SOFT, OLD_BEGINNING, NEW_BEGINNING, HEADER = "zone", "soft", "from", "to", "header"
# What `test` purges of a CDN: nothing is there.
TEST_PATH = "/imagesync-test.jpg"


@dataclass(frozen=True)
class Form:
    """A kind of receiver. at: where its API is, '' where a person says; together: so many messages are one delivery;
    options: what it takes; needed: what it cannot do without."""

    name: str
    title: str
    at: str = ""
    together: int = 1
    options: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()


_REWRITTEN = (OLD_BEGINNING, NEW_BEGINNING)
FORMS = {
    one.name: one
    for one in (
        Form(STANDARD, N_("a signed message (Standard Webhooks)")),
        Form(
            "cloudflare",
            N_("purge of Cloudflare's copies"),
            "https://api.cloudflare.com/client/v4",
            together=50,
            options=(ZONE, *_REWRITTEN),
            needed=(ZONE,),
        ),
        Form(
            "fastly", N_("purge of Fastly's copies"), "https://api.fastly.com", together=20, options=(SOFT, *_REWRITTEN)
        ),
        Form("bunny", N_("purge of bunny.net's copies"), "https://api.bunny.net", together=20, options=_REWRITTEN),
        Form(REVALIDATE, N_("a shop that makes pages anew"), together=50, options=(HEADER,)),
    )
}
# Of one call to Cloudflare, on every plan.
_MOST_FILES = 100


@dataclass(frozen=True)
class Message:
    """What is told: its id, the SKU it is about, the addresses of its pictures before and after, its JSON."""

    id: str
    sku: str
    addresses: Sequence[str]
    body: str


def postings(
    form: str, url: str, options: Mapping[str, Any], secrets: Sequence[SecretStr], told: Sequence[Message], at: int
) -> Iterator[Posting]:
    """What is sent to tell these messages; nothing where no address of them is one that the CDN serves.

    secrets: the newest first; the others sign too. at: the moment, in seconds since 1970. Raises WebhookSecretError.
    """
    hidden = tuple(one.get_secret_value() for one in secrets)
    newest = hidden[0]
    if form == STANDARD:
        keys = [key_of(one) for one in secrets]
        for one in told:
            body = one.body.encode()
            yield Posting(url, {**JSON, **signed_headers(one.id, at, body, keys)}, body, hidden)
    elif form == REVALIDATE:
        skus = list(dict.fromkeys(one.sku for one in told))
        name = str(options.get(HEADER) or "")
        credential = {name: newest} if name else {"Authorization": f"Bearer {newest}"}
        body = json.dumps({"skus": skus, "tags": [f"product:{sku}" for sku in skus]}, ensure_ascii=False).encode()
        yield Posting(url, {**JSON, **credential, "webhook-id": told[-1].id}, body, hidden)
    else:
        served = _served((address for one in told for address in one.addresses), options)
        yield from _purges(form, url.rstrip("/"), options, newest, served)


def _purges(form: str, base: str, options: Mapping[str, Any], token: str, served: Sequence[str]) -> Iterator[Posting]:
    if form == "cloudflare":
        where = f"{base}/zones/{quote(str(options[ZONE]), safe='')}/purge_cache"
        for first in range(0, len(served), _MOST_FILES):
            body = json.dumps({"files": served[first : first + _MOST_FILES]}).encode()
            yield Posting(where, {**JSON, "Authorization": f"Bearer {token}"}, body, (token,))
    elif form == "fastly":
        soft = {"Fastly-Soft-Purge": "1"} if options.get(SOFT) else {}
        for address in served:
            parts = urlsplit(address)
            query = f"?{parts.query}" if parts.query else ""
            where = f"{base}/purge/{parts.netloc}{parts.path}{query}"
            yield Posting(where, {"Fastly-Key": token, **soft}, b"", (token,))
    else:
        for address in served:
            where = f"{base}/purge?url={quote(address, safe='')}&async=true"
            yield Posting(where, {"AccessKey": token}, b"", (token,))


def _served(addresses: Iterator[str], options: Mapping[str, Any]) -> list[str]:
    """The addresses as the CDN has them, each once; those with another beginning than `from` it does not have."""
    old, new = str(options.get(OLD_BEGINNING) or ""), str(options.get(NEW_BEGINNING) or "")
    mine = (address for address in addresses if address.startswith(old))
    served = dict.fromkeys(new + address.removeprefix(old) if new else address for address in mine)
    return [address for address in served if _is_readable(address)]


def _is_readable(address: str) -> bool:
    """Whether it is one that a CDN can have: it answers for no other, and one of many would fail the call."""
    try:
        parts = urlsplit(address)
        return bool(parts.scheme and parts.hostname) and parts.port != 0
    except ValueError:
        return False


def refused(form: str, body: bytes) -> str:
    """Why an answer with a good status does not accept, by what its body says; '' where it does."""
    if form not in {"cloudflare", "fastly"}:
        return ""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return languages.told("the answer is not the JSON that this API gives")
    if form == "fastly":
        return "" if said.get("status") == "ok" else languages.told("the answer does not say that its status is ok")
    return "" if said.get("success") is True else languages.told("the answer does not say success")
