"""Proves which URLs that are data may be opened: a table of spellings that lead inside, and of those that do not."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.upstream.addresses import (
    Destination,
    has_user,
    is_public,
    judge_url,
    resolve_host,
    web_address,
)
from imagesync_pipelines.upstream.errors import UnavailableError, UpstreamError, UrlRefusedError

PUBLIC = "93.184.215.14"


def to_public(host: str, port: int) -> Sequence[str]:
    """Resolve everything to a public address, so that only the spelling can be refused."""
    return [PUBLIC]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.8.9.10/",
        "http://0.0.0.0/",
        "http://0/",
        "http://10.1.2.3/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://192.0.0.8/",
        "http://192.0.2.1/",
        "http://198.18.0.1/",
        "http://203.0.113.5/",
        "http://224.0.0.1/",
        "http://239.255.255.250/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0X7F.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://127.0.0.01/",
        "http://0127.0.0.1/",
        "http://127.0.0.1./",
        "http://１２７.0.0.1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://8.8.8.8.8/",
        "http://999.1.1.1/",
        "http://1.2.3/",
        "http://example.0x1/",
        "http://[::1]/",
        "http://[::]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::127.0.0.1]/",
        "http://[::ffff:0:127.0.0.1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[64:ff9b:1::8.8.8.8]/",
        "http://[2002:7f00:1::]/",
        "http://[2002:c0a8:101::1]/",
        "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
        "http://[2001:db8::1]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fc00::1]/",
        "http://[fd12:3456::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://[100::1]/",
        "http://user@images.example/",
        "http://user:pass@images.example/",
        "http://images.example@127.0.0.1/",
        "http://127.0.0.1#@images.example/",
        "http://images.example\\@127.0.0.1/",
        "http://images.example\\.evil/",
        "http://127.0.0.1%2f@images.example/",
        "http://images.example%00.evil/",
        "http://images.example%2eevil/",
        "http://images example/",
        "http://images.example/\r\nHost: evil",
        "http://images.example/\x00",
        "http:///x",
        "http://",
        "http:images.example",
        "//images.example/x",
        "images.example/x",
        "/etc/passwd",
        "",
        "file:///etc/passwd",
        "ftp://images.example/x",
        "gopher://images.example:70/x",
        "data:image/png;base64,AAAA",
        "jar:http://images.example/x",
        "http://images.example:22/",
        "http://images.example:25/",
        "http://images.example:1024/",
        "http://images.example:0/",
        "http://images.example:99999/",
        "http://images.example:-1/",
        "http://images.example:８０/",
        "http://images.example:80:80/",
        "http://[images.example]/",
        "http://[::1/",
        "http://-images.example/",
        "http://images..example/",
        "http://.images.example/",
        "http://" + "a" * 64 + ".example/",
        "http://" + "a." * 130 + "example/",
        "http://images.example/" + "a" * 2100,
    ],
)
def test_a_url_that_leads_inside_or_is_oddly_written_is_refused(url: str) -> None:
    outcome = judge_url(url, frozenset(), to_public)
    assert isinstance(outcome, UrlRefusedError)
    assert not outcome.retryable
    assert "pass" not in str(outcome)


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("http://images.example/a.jpg", "images.example", 80, "/a.jpg"),
        ("https://images.example", "images.example", 443, "/"),
        ("HTTPS://Images.EXAMPLE./a", "images.example", 443, "/a"),
        ("https://images.example:8443/a?b=c&d=%20#frag", "images.example", 8443, "/a?b=c&d=%20"),
        ("http://images.example:443/", "images.example", 443, "/"),
        (" http://images.example/a b,c.jpg?d=e f\n", "images.example", 80, "/a%20b,c.jpg?d=e%20f"),
        ("http://images.example/100%zz%20.jpg", "images.example", 80, "/100%25zz%20.jpg"),
        ("https://bücher.example/ä b.jpg".replace(" ", "%20"), "xn--bcher-kva.example", 443, "/%C3%A4%20b.jpg"),
        ("https://under_score.example/", "under_score.example", 443, "/"),
        (f"http://{PUBLIC}/a", PUBLIC, 80, "/a"),
        ("http://[2606:4700:4700::1111]/a", "2606:4700:4700::1111", 80, "/a"),
        ("http://[2606:4700:4700:0:0:0:0:1111]/a", "2606:4700:4700::1111", 80, "/a"),
        ("http://[64:ff9b::8.8.8.8]/a", "64:ff9b::808:808", 80, "/a"),
        ("http://[::ffff:8.8.8.8]/a", "::ffff:808:808", 80, "/a"),
        ("https://images.example/a?url=http://127.0.0.1/", "images.example", 443, "/a?url=http://127.0.0.1/"),
        ("https://127.0.0.1.images.example/", "127.0.0.1.images.example", 443, "/"),
        ("https://1e100.example/", "1e100.example", 443, "/"),
    ],
)
def test_a_public_url_is_taken_apart(url: str, host: str, port: int, target: str) -> None:
    outcome = judge_url(url, frozenset(), to_public)
    assert isinstance(outcome, Destination), outcome
    assert (outcome.port, outcome.target) == (port, target)
    assert outcome.host in {host, "::ffff:8.8.8.8"}


@pytest.mark.parametrize(
    "found",
    [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1"], ["fe80::1%eth0"], ["::ffff:192.168.0.1"], ["nonsense"]],
    ids=str,
)
def test_a_name_with_any_address_inside_is_refused(found: list[str]) -> None:
    outcome = judge_url("https://images.example/", frozenset(), lambda host, port: found)
    assert isinstance(outcome, UrlRefusedError)
    assert "no public address" in str(outcome)


@pytest.mark.parametrize("name", ["media.internal", "MEDIA.internal", "media.internal."])
def test_an_allowed_host_may_be_private_and_have_any_port(name: str) -> None:
    outcome = judge_url("http://media.internal:81/x", {name}, lambda host, port: ["10.0.0.7"])
    assert isinstance(outcome, Destination)
    assert (outcome.addresses, outcome.name) == (("10.0.0.7",), "media.internal:81")


@pytest.mark.parametrize("url", ["http://media.internal.evil.example/", "http://a.media.internal/"])
def test_an_allowed_host_allows_itself_only(url: str) -> None:
    outcome = judge_url(url, {"media.internal"}, lambda host, port: ["10.0.0.7"])
    assert isinstance(outcome, UrlRefusedError)


def test_an_allowed_ipv6_address_may_be_written_with_brackets() -> None:
    outcome = judge_url("http://[::1]:81/x", {"[::1]"}, to_public)
    assert isinstance(outcome, Destination)
    assert outcome.name == "[::1]:81"


def test_the_name_is_looked_up_once() -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return [PUBLIC]

    assert isinstance(judge_url("https://images.example/", frozenset(), resolve), Destination)
    assert asked == ["images.example"]


def test_a_name_without_an_address_may_be_tried_again() -> None:
    outcome = judge_url("https://does-not-exist.invalid/", frozenset(), resolve_host)
    assert isinstance(outcome, UnavailableError)


@pytest.mark.parametrize(
    ("url", "given_on"),
    [
        ("https://images.example/a.jpg", "https://images.example/a.jpg"),
        (" https://images.example/a b,c.jpg ", "https://images.example/a%20b,c.jpg"),
        ("https://images.example/Кот.jpg?q=ä b", "https://images.example/%D0%9A%D0%BE%D1%82.jpg?q=%C3%A4%20b"),
        ("https://bücher.example:8443/a", "https://xn--bcher-kva.example:8443/a"),
        ("HTTPS://Images.EXAMPLE/A%20b#c d", "https://images.example/A%20b#c%20d"),
        ("https://images.example/100%zz%.jpg", "https://images.example/100%25zz%25.jpg"),
        ("https://images.example/a\\b\x00\n<>", "https://images.example/a%5Cb%00%0A%3C%3E"),
        ("https://anna:secret@images.example/a", "https://images.example/a"),
        ("https://anna:s@cret@images.example/a@b", "https://images.example/a@b"),
        ("https:anna:secret@images.example/a", "https://images.example/a"),
        ("https:/\\/anna:secret@images.example/a", "https://images.example/a"),
        ("ftp://anna:secret@images.example/a b", "ftp://images.example/a%20b"),
        ("//anna:secret@images.example/a", "//images.example/a"),
        ("http://[2606:4700:4700:0:0:0:0:1111]:81/a", "http://[2606:4700:4700::1111]:81/a"),
        ("http://[", "http://["),
        ("http://a b/c", "http://a%20b/c"),
        ("/images/content/ab", "/images/content/ab"),
        ("", ""),
    ],
)
def test_an_address_is_given_on_as_everybody_takes_it(url: str, given_on: str) -> None:
    assert web_address(url) == given_on
    assert has_user(url) == ("anna" in url)


@given(st.text(max_size=60))
def test_any_address_is_given_on_in_plain_signs_without_a_user_and_stays_so(text: str) -> None:
    for url in (text, f"http://{text}", f"https://images.example/{text}", f"https://user:pass@{text}"):
        given_on = web_address(url)
        assert given_on.isascii()
        assert not set(given_on) & set(' \\"<>^`{|}\x7f\n\r\t\0')
        assert not has_user(given_on)
        assert web_address(given_on) == given_on


@given(st.text(max_size=60))
def test_any_text_is_judged_and_none_raises(text: str) -> None:
    for url in (text, f"http://{text}", f"https://images.example/{text}"):
        outcome = judge_url(url, frozenset(), to_public)
        assert isinstance(outcome, UpstreamError | Destination)


@given(st.ip_addresses(v=4))
def test_an_address_inside_ipv6_is_judged_like_itself(address: object) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))
    assert is_public(f"64:ff9b::{address}") == is_public(str(address))
