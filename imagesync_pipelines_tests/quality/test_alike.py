"""The same picture in several places: what is suggested, dismissed and suggested no more."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.alike_pictures import SAME, drawn, products
from imagesync_pipelines.imaging.hashes import difference_hash
from imagesync_pipelines.imaging.signatures import signature_of
from imagesync_pipelines.quality import alike
from imagesync_pipelines.quality.alike import (
    Copy,
    Found,
    Kind,
    Where,
    dismiss,
    find_alike,
    restore,
    suggested_by,
    suggestions,
)
from imagesync_pipelines.storage.facts import Measures
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_alike, picture_measure
from imagesync_pipelines_tests.quality.rows import measure, show

RED, BLUE = (Where("plytix", "", f"S-{n}", "", True, n, "", 9, False) for n in (1, 2))
PARENT = Where("plytix", "", "S", "", True, 9, "", 9, True)
OTHER = Where("plytix", "", "T", "", True, 5, "", 5, False)
STORE = Where("edge", "hill", "S-1", "", True, None, "", None, False)
SIDE = OTHER._replace(is_main=False)
PLAIN = Measures("a", "JPEG", 500, 500, 1, 0.8, (), 0.5, 0, 7)
LARGE = replace(PLAIN, sha256="b", width=1500, height=1500)
READ, MARKED = replace(PLAIN, words=()), replace(LARGE, words=("SHOP",))


@pytest.mark.parametrize(
    ("one", "other", "kinds"),
    [
        ((PLAIN, RED), (PLAIN, BLUE), [Kind.VARIANTS]),
        ((PLAIN, RED), (PLAIN, OTHER), [Kind.PRODUCTS]),
        # A variant shows its parent's picture; the store shows the same article.
        ((PLAIN, RED), (PLAIN, PARENT), []),
        ((PLAIN, RED), (PLAIN, STORE), []),
        # A picture that is no main one is for none of them to be first; but it may be the better copy.
        ((PLAIN, RED), (PLAIN, SIDE), []),
        ((PLAIN, RED), (LARGE, SIDE), [Kind.BETTER_COPY]),
        ((LARGE, RED), (PLAIN, SIDE), []),
        ((PLAIN, RED), (LARGE, STORE), [Kind.BETTER_COPY]),
        ((PLAIN, RED), (replace(PLAIN, sharpness=0.9), STORE), [Kind.BETTER_COPY]),
        # A sharper one that is smaller shows no more.
        ((LARGE, RED), (replace(PLAIN, sharpness=0.9), SIDE), []),
        # Larger, but with a mark: it is no better copy, and its own place hears of the mark.
        ((READ, RED), (MARKED, STORE), [Kind.WORDS]),
        ((replace(LARGE, words=()), RED), (replace(READ, words=("SHOP",)), STORE), [Kind.WORDS, Kind.BETTER_COPY]),
        # Nobody looked for words in one of them.
        ((PLAIN, RED), (MARKED, STORE), []),
    ],
)
def test_what_two_copies_suggest(one: tuple[Measures, Where], other: tuple[Measures, Where], kinds: list[Kind]) -> None:
    copies = [Copy(measures, (place,)) for measures, place in (one, other)]
    assert [kind for kind, _ in suggested_by(*copies)] == kinds
    assert {kind for kind, _ in suggested_by(*copies[::-1])} == set(kinds)


def test_sentences_name_where_and_why() -> None:
    better = suggested_by(Copy(PLAIN, (RED,)), Copy(LARGE, (SIDE,)))
    assert better == [
        (
            Kind.BETTER_COPY,
            "The copy on T (plytix) is better than that on S-1 (plytix): larger (1500 x 1500 instead of 500 x 500). "
            "Nobody looked for words in both.",
        )
    ]
    content = Copy(PLAIN, tuple(BLUE._replace(code=f"S-{n}", product_id=n) for n in range(5)))
    ((_, sentence),) = suggested_by(content, content)
    assert sentence.startswith("The same picture stands on several variants: S-0 (plytix), S-1 (plytix), S-2 (plytix)")
    assert " and 2 more" in sentence


def test_a_picture_of_very_many_products_is_compared_with_a_few_of_them_each(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Where] = []

    def is_same(one: Where, other: Where) -> bool:
        compared.append(one)
        return one.code == other.code

    monkeypatch.setattr(alike, "_is_same_product", is_same)
    places = [RED._replace(code=f"S-{n:04}", product_id=n, family=n // 700) for n in range(2_000)]
    places += [STORE._replace(code=f"U-{n:04}") for n in range(500)]
    content = Copy(PLAIN, tuple(places))
    found = dict(suggested_by(content, content))
    assert "S-0000 (plytix), S-0001 (plytix), S-0002 (plytix) and 1997 more" in found[Kind.VARIANTS]
    assert "and 2497 more" in found[Kind.PRODUCTS]
    assert len(compared) < 4 * len(places)


def told(engine: sa.Engine, **asked: Any) -> list[tuple[str, str, Kind]]:
    with engine.connect() as connection:
        return [(one.sha256, one.other_sha256, one.kind) for one in suggestions(connection, **asked)[0]]


def test_new_contents_are_compared_once_and_what_a_person_dismissed_stays_so(database: sa.Engine) -> None:
    picture, other = (drawn(one) for one in products(2))
    contents = {"a1": picture, "a2": SAME["scaled to 300"](picture), "b1": other}
    for name, one in contents.items():
        bits = difference_hash(one)
        signed = bits - (1 << 64) if bits >> 63 else bits
        measure(database, name, hash=signed, signature=signature_of(one), width=one.width, height=one.height)
    with database.begin() as connection:
        rows = [
            {"id": n, "kind": "variant", "erp_id": str(n), "sku": f"S-{n}", "parent_id": None if n == 1 else 1}
            for n in (1, 2, 3)
        ]
        connection.execute(product.insert(), rows)
    show(database, "S-2", "a1", product_id=2)
    show(database, "S-3", "a2", product_id=3)
    show(database, "T", "b1")
    show(database, "U", "b1")
    assert find_alike(database) == Found(3, 0, 2)
    pairs = [("b1", "b1", Kind.PRODUCTS), ("a1", "a2", Kind.VARIANTS), ("a1", "a2", Kind.BETTER_COPY)]
    assert sorted(told(database)) == sorted(pairs)
    assert find_alike(database) == Found(0, 0, 2)
    assert told(database, kind=Kind.BETTER_COPY) == [pairs[2]]
    with database.begin() as connection:
        assert dismiss(connection, "a2", "a1", "eva")
        assert not dismiss(connection, "a1", "a2", "otto")
        assert not dismiss(connection, "a1", "b1", "otto")
    # Measured and compared anew it is still the same pair; the others' measure is none any more.
    with database.begin() as connection:
        connection.execute(picture_measure.update().values(measured_by="2"))
        connection.execute(channel_picture.delete().where(channel_picture.c.code == "U"))
    assert find_alike(database) == Found(3, 0, 0)
    assert told(database) == []
    assert {kind for *_, kind in told(database, dismissed=True)} == {Kind.VARIANTS, Kind.BETTER_COPY}
    with database.connect() as connection:
        found, _ = suggestions(connection, dismissed=True)
        assert {one.dismissed_by for one in found} == {"eva"}
    with database.begin() as connection:
        assert restore(connection, "a2", "a1")
        assert not restore(connection, "a1", "a2")
    assert told(database, dismissed=True) == []
    assert {kind for *_, kind in told(database)} == {Kind.VARIANTS, Kind.BETTER_COPY}


def test_a_page_reads_some_places_of_a_content_and_says_that_there_are_more(
    database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alike, "_PLACES_OF_PAGE", 4)
    measure(database, "none")
    for n in range(6):
        show(database, f"A{n}", "none", is_main=n > 0)
    find_alike(database)
    with database.connect() as connection:
        ([one], _) = suggestions(connection)
    assert ([place.code for place in one.here.places], one.here.is_cut) == (["A1", "A2", "A3", "A4"], True)
    assert "A3 (plytix default) and more than 1 more." in one.sentence


def test_pages_follow_each_other_and_skip_what_is_shown_no_more(database: sa.Engine) -> None:
    for n in range(5):
        measure(database, f"c{n}")
        show(database, f"A{n}", f"c{n}")
        show(database, f"B{n}", f"c{n}")
    find_alike(database)
    with database.begin() as connection:
        connection.execute(channel_picture.delete().where(channel_picture.c.sha256 == "c2"))
        assert connection.scalar(sa.select(sa.func.count()).select_from(picture_alike)) == 5
    seen, after = [], None
    with database.connect() as connection:
        for _ in range(5):
            page, after = suggestions(connection, after=after, limit=2)
            seen += [one.sha256 for one in page]
            if after is None:
                break
    assert seen == ["c4", "c3", "c1", "c0"]
