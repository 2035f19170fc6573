"""Addresses are compared without what signs them, and what does not is left exactly as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.upstream.canonical import is_signed, stable_address

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


@given(st.text(max_size=40))
def test_what_is_stable_stays(text: str) -> None:
    once = stable_address(f"{PICTURE}?{text}")
    assert stable_address(once) == once
