"""Names are compared as people read them; addresses without what signs them, and what does not stays as it is."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.upstream.canonical import canonical_text, expires_at, is_signed, stable_address

PICTURE = "https://media.example.com/a/1.jpg"


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("X-Amz-Algorithm=AWS4&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=abc", ""),
        ("AWSAccessKeyId=A&Expires=1893456000&Signature=x%2By%3D", ""),
        ("Expires=1893456000&Signature=abc&Key-Pair-Id=K1", ""),
        ("X-Goog-Signature=abc&x-goog-expires=60", ""),
        ("sv=2022-11-02&st=2026-01-01&se=2026-01-02&sr=b&sp=r&sig=abc%3D", ""),
        ("token=abc", ""),
        ("v=2&token=abc", "?v=2"),
        ("width=300&sig=1&height=200", "?width=300&height=200"),
        ("alt=media&token=0b1&version=7#top", "?alt=media&version=7#top"),
    ],
)
def test_signatures_and_expiry_are_left_out(query: str, left: str) -> None:
    assert stable_address(f"{PICTURE}?{query}") == f"{PICTURE}{left}"
    assert is_signed(f"{PICTURE}?{query}")


@pytest.mark.parametrize(
    "url",
    [
        PICTURE,
        f"{PICTURE}?v=2",
        f"{PICTURE}?sv=2&sp=r",
        f"{PICTURE}?",
        f"{PICTURE}?design=x&a;b&&c=%20+",
        f"{PICTURE}#token=1",
        "",
        "sha256:0815",
    ],
)
def test_other_addresses_stay_exactly_as_they_are(url: str) -> None:
    assert stable_address(url) == url
    assert not is_signed(url)


NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "moment"),
    [
        ("X-Amz-Date=20261129T110000Z&X-Amz-Expires=3600&X-Amz-Signature=abc", NOON),
        ("X-Goog-Date=20261129T110000Z&X-Goog-Expires=3600#top", NOON),
        ("AWSAccessKeyId=A&Expires=1795953600&Signature=x", NOON),
        ("exp=1795953600000&token=abc", NOON),
        ("q-sign-time=1795950000%3B1795953600&q-signature=abc", NOON),
        ("sv=2022-11-02&se=2026-11-29T12%3A00%3A00Z&sig=abc", NOON),
        ("expires=2026-11-29T12:00:00", NOON),
        ("se=2026-11-29T12:00:00Z", None),
        ("token=abc", None),
        ("Expires=soon&Signature=x", None),
        ("Expires=&Signature=x", None),
        ("X-Amz-Date=yesterday&X-Amz-Expires=3600", None),
        ("X-Amz-Date=20261129T110000Z&X-Amz-Expires=" + "9" * 30, None),
        ("expires=" + "9" * 15, None),
        ("", None),
    ],
)
def test_an_address_says_when_it_ends(query: str, moment: datetime | None) -> None:
    assert expires_at(f"{PICTURE}?{query}") == moment


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (" TM 01 ", "TM 01"),
        ("TM\u00a001\u202f", "TM 01"),
        ("Gro\u0308\u00adße\u200b 7", "Größe 7"),
        ("0815", "0815"),
        ("", ""),
    ],
)
def test_a_text_is_compared_as_people_read_it(text: str, form: str) -> None:
    assert canonical_text(text) == form


@given(st.text(max_size=40))
def test_what_is_stable_stays(text: str) -> None:
    once = stable_address(f"{PICTURE}?{text}")
    assert stable_address(once) == once
