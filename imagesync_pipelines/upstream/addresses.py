"""Which URLs that are data may be opened, and at which address; and how an address of a picture is given on.

One parser reads the URL, and the request is built from its parts, so two readings cannot differ.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import idna

from imagesync_pipelines.languages import told
from imagesync_pipelines.upstream.errors import UnavailableError, UpstreamError, UrlRefusedError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""Gives the addresses of a host name, as text; raises OSError when there are none."""

_PORTS = {"http": 80, "https": 443}
# A blank is none of these: people write it, and it is encoded.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]|[^\S ]")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SAFE_IN_TARGET = "/%:@!$&'()*+,;=~-._?"
_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
# As browsers read it: however many slashes, of either kind.
_OF_THE_WEB = re.compile(r"(https?):[/\\]*([^/\\?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_IS_PLAIN = re.compile(r"https?://[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9._~-]+)+").fullmatch
_PORT = re.compile(r":([0-9]{0,5})$")
_USER = re.compile(r"//[^/?#]*@")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # old 6to4 relays
        "::/96",  # IPv4-compatible, long deprecated
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b:1::/48",  # NAT64 inside one network
        "100::/64",  # discard
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # old site-local
    )
)


@dataclass(frozen=True)
class Destination:
    """A URL that was taken apart and judged: what to ask for, of whom, at which addresses."""

    scheme: str
    host: str
    port: int
    path: str
    target: str = field(repr=False)
    addresses: tuple[str, ...]

    @property
    def name(self) -> str:
        """The host as people write it: in brackets when it is IPv6, with the port when it is unusual."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def resolve_host(host: str, port: int) -> Sequence[str]:
    """Look a name up once, as the operating system does."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def judge_url(url: str, allowed_hosts: Collection[str], resolve: Resolve = resolve_host) -> Destination | UpstreamError:
    """Take a URL apart, look its host up once and decide: the destination, or the error that says why not.

    A host in allowed_hosts may be private and have any port. For every other one ALL its addresses must be public.
    """
    url = url.strip()
    if len(url) > 2048 or _FORBIDDEN.search(url):
        return UrlRefusedError(told("the URL is too long, or holds control characters or a backslash"))
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return UrlRefusedError(told("the URL cannot be read"))
    if parts.scheme not in _PORTS:
        return UrlRefusedError(told("the URL is neither http nor https"))
    if "@" in parts.netloc:
        return UrlRefusedError(told("the URL holds a user name"), host=parts.netloc.rpartition("@")[2])
    host = _canonical_host(parts.hostname or "")
    if host is None:
        return UrlRefusedError(told("the host of the URL is missing or not written in the usual way"))
    path = _encoded(parts.path or "/")
    if port is None:
        port = _PORTS[parts.scheme]
    allowed = host in {_canonical_host(name.strip("[]")) for name in allowed_hosts}
    if not allowed and port not in _PORTS.values() and port <= 1024:
        return UrlRefusedError(told(f"port {port} is none that pictures are served from"), host=host, path=path)
    try:
        addresses = [host] if _literal(host) else list(resolve(host, port))
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        return UnavailableError(told("the host name cannot be resolved"), host=host, path=path, sent=False)
    if not allowed and (bad := [address for address in addresses if not is_public(address)]):
        what = told(f"leads to {bad[0]}, which is no public address (allow the host in the settings if it is yours)")
        return UrlRefusedError(what, host=host, path=path)
    query = f"?{_encoded(parts.query)}" if parts.query else ""
    return Destination(parts.scheme, host, port, path, path + query, tuple(addresses))


def web_address(url: str) -> str:
    """The address as everybody takes it (RFC 3986), and never a user name or password.

    Trimmed, the host in ASCII, what is no sign of an address percent-encoded. What is no address of the web at all is
    given on as such, encoded as well.
    """
    url = url.strip()
    if _IS_PLAIN(url):  # nearly all are, and this is seen much sooner
        return url
    found = _OF_THE_WEB.fullmatch(url)
    if found is None:
        return _encoded(_USER.sub("//", url), "#")
    scheme, authority, rest = found.groups()
    place = authority.rpartition("@")[2]
    port = _PORT.search(place)
    name = _PORT.sub("", place)
    host = _canonical_host(name.strip("[]") if ":" in name else name) or _encoded(name, "[]")
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    end = f":{port[1]}" if port and port[1] else ""
    return f"{scheme.lower()}://{host}{end}{_encoded(rest, '#')}"


def has_user(url: str) -> bool:
    """Whether an address has a user name or a password before its host."""
    found = _OF_THE_WEB.fullmatch(url.strip()) if "@" in url else None
    return "@" in found[2] if found else _USER.search(url) is not None


def without_users(value: Any) -> Any:
    """A record as it came, every address in it without a user name or password."""
    if isinstance(value, dict):
        return {name: without_users(one) for name, one in value.items()}
    if isinstance(value, list):
        return [without_users(one) for one in value]
    return web_address(value) if isinstance(value, str) and has_user(value) else value


def _encoded(text: str, safe: str = "") -> str:
    """Percent-encoded; what is encoded already stays, and a percent sign that begins nothing is encoded."""
    return quote(_NO_ESCAPE.sub("%25", text), safe=_SAFE_IN_TARGET + safe, errors="replace")


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet; IPv4 mapped into IPv6 or behind NAT64 is judged."""
    try:
        ip: Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if any(ip.version == network.version and ip in network for network in _NOT_PUBLIC):
        return False
    return ip.is_global and not (
        ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    )


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _canonical_host(host: str) -> str | None:
    """Give a host name in lower-case ASCII, an address in its one usual spelling, or None for any other spelling.

    The C library reads 127.1, 0x7f000001, 2130706433 and 0177.0.0.1 as addresses; such names are refused here.
    """
    if ":" in host:
        ip = _literal(host)
        return str(ip) if ip is not None and "%" not in host else None
    try:
        name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return None
    name = name.removesuffix(".")
    labels = name.split(".")
    if not all(re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", label) for label in labels) or len(name) > 253:
        return None
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        ip = _literal(name)
        return name if ip is not None and str(ip) == name else None
    return name
