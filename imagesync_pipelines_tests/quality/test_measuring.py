"""Pictures are measured when they changed, each content once; what is wrong with one is told and stops no other."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.imaging.errors import BadImageError, Fault
from imagesync_pipelines.imaging.words import WordsMissingError
from imagesync_pipelines.quality import measuring
from imagesync_pipelines.quality.measuring import ANOTHER, NO_ADDRESS, Bounds, Looked, Tools, measure_due
from imagesync_pipelines.quality.noting import note_pictures
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.facts import Measures, PictureFacts
from imagesync_pipelines.sync.channel_picture import ChannelPicture
from imagesync_pipelines.upstream.errors import NotFoundError, UnavailableError

NOW = datetime(2026, 11, 30, 6, tzinfo=UTC)
BOUNDS = Bounds(NOW, None, 2, timedelta(hours=24))
SHOWN = ChannelPicture("A", "1", True, None, "", "variant", "https://a.example/1", "v1")


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def without_model(body: bytes) -> tuple[str, ...]:
    raise WordsMissingError("no model")


class World:
    """What addresses give, and what was asked of them and of the measures."""

    def __init__(self, database: sa.Engine, root: UPath) -> None:
        self.database, self.contents = database, Contents(database, root, lambda: NOW)
        self.gives: dict[str, bytes | Exception] = {}
        self.fetched: list[str] = []
        self.measured: list[bytes] = []
        self.tools = Tools(self.fetch, self.measure, "1")

    def fetch(self, address: str) -> bytes:
        self.fetched.append(address)
        found = self.gives[address]
        if isinstance(found, Exception):
            raise found
        return found

    def measure(self, body: bytes) -> Measures:
        if body == b"broken":
            raise BadImageError(Fault.NO_IMAGE, "the body is no picture")
        self.measured.append(body)
        return Measures(sha256(body), "JPEG", 10, 10, 1.0, 0.9, (), 1.0, 0.0, 7)

    def show(self, *pictures: ChannelPicture, account: str = "") -> None:
        note_pictures(self.database, "image_db", account, pictures)

    def run(self, bounds: Bounds = BOUNDS, **more: Any) -> Looked:
        self.fetched.clear()
        self.measured.clear()
        return measure_due(self.database, self.contents, self.tools, bounds, **more)

    def known(self) -> dict[str, tuple[str, str]]:
        query = "SELECT code || key, sha256, problem FROM imagesync.channel_picture ORDER BY account, code, key"
        with self.database.connect() as connection:
            return {name: (sha, problem) for name, sha, problem in connection.execute(sa.text(query))}


@pytest.fixture
def world(database: sa.Engine, tmp_path: Any) -> World:
    return World(database, UPath(tmp_path))


def test_what_is_as_before_is_not_fetched_again_and_new_measures_measure_all_anew(world: World) -> None:
    other = SHOWN._replace(code="B", picture="https://a.example/2")
    world.gives = {SHOWN.picture: b"one", other.picture: b"two"}
    world.show(SHOWN, other, SHOWN._replace(key="2", is_main=False))
    assert world.run() == Looked(measured=2)
    assert sorted(world.measured) == [b"one", b"two"]
    assert world.known() == {"A1": (sha256(b"one"), ""), "A2": ("", ""), "B1": (sha256(b"two"), "")}
    assert (world.run(), world.fetched) == (Looked(), [])
    world.show(SHOWN, other._replace(version="v2"))
    world.gives[other.picture] = b"three"
    assert (world.run(), world.fetched) == (Looked(measured=1), [other.picture])
    world.tools = replace(world.tools, measured_by="2")
    assert world.run() == Looked(measured=2)


def test_a_content_is_fetched_once_whoever_shows_it_and_kept_content_never(world: World) -> None:
    world.gives = {SHOWN.picture: b"one"}
    kept = SHOWN._replace(code="K", picture="https://gone.example/1", version=f"sha256:{sha256(b'kept')}")
    world.contents.put("own:x", b"kept", PictureFacts("JPEG", 1, 1, sha256(b"kept")), timedelta(days=1))
    world.show(SHOWN, SHOWN._replace(code="B"), SHOWN._replace(code="C", version="v2"), kept)
    assert world.run() == Looked(measured=3)
    assert world.fetched == [SHOWN.picture] * 2
    assert sorted(world.measured) == [b"kept", b"one"], "one content was measured, however often it was fetched"
    # Another account shows what is known by its hash, or by its address.
    world.show(SHOWN, kept._replace(picture="at:edge:x:1:2"), account="other")
    assert (world.run(), world.fetched) == (Looked(), [])
    assert set(world.known().values()) == {(sha256(b"one"), ""), (sha256(b"kept"), "")}


def test_a_bad_picture_is_set_aside_with_its_reason_and_tried_again_after_a_while(world: World) -> None:
    broken, gone, nowhere = (SHOWN._replace(code=code, picture=f"https://{code}.example/1") for code in "BCD")
    altered = SHOWN._replace(code="E", picture="https://e.example/1", version=f"md5:{'0' * 32}")
    world.gives = {SHOWN.picture: b"one", broken.picture: b"broken", altered.picture: b"other"}
    world.gives[gone.picture] = NotFoundError("HTTP 404", status=404)
    world.show(SHOWN, broken, gone, nowhere._replace(picture=""), altered)
    found = world.run()
    assert (found.measured, found.problems, found.waiting, found.away) == (1, 4, 0, 0)
    reasons = {name: problem for name, (_, problem) in world.known().items()}
    assert reasons["A1"] == ""
    assert [reasons[name] for name in ("B1", "D1", "E1")] == ["the body is no picture", NO_ADDRESS, ANOTHER]
    assert "404" in reasons["C1"]
    assert (world.run(), world.fetched) == (Looked(), [])
    world.gives[gone.picture] = b"two"
    assert world.run(replace(BOUNDS, now=NOW + timedelta(hours=25))).measured == 1
    assert world.known()["C1"] == (sha256(b"two"), "")


def test_a_content_that_one_place_cannot_give_is_measured_where_another_one_gives_it(world: World) -> None:
    version = f"sha256:{sha256(b'one')}"
    away, near = (SHOWN._replace(code=code, picture=f"https://{code}.example", version=version) for code in "AB")
    world.gives = {away.picture: NotFoundError("HTTP 404", status=404), near.picture: b"one"}
    world.show(away, away._replace(key="2"), account="a")
    world.show(near, near._replace(code="C"), account="b")
    found = world.run()
    assert (found.measured, found.problems, world.fetched) == (1, 1, [away.picture, near.picture])
    assert world.known()["B1"] == world.known()["C1"] == (sha256(b"one"), "")


def test_what_was_bad_before_and_what_has_no_address_use_up_no_limit(world: World) -> None:
    bad, nowhere = SHOWN._replace(code="A"), SHOWN._replace(code="B", picture="")
    new = SHOWN._replace(code="C", picture="https://c.example/1")
    world.gives = {bad.picture: b"broken", new.picture: b"one"}
    world.show(bad)
    assert world.run().problems == 1
    world.show(bad, nowhere, new)
    found = world.run(replace(BOUNDS, now=NOW + timedelta(hours=25), limit=1))
    assert (world.fetched, found.measured, found.problems, found.waiting) == ([new.picture], 1, 1, 1)


def test_a_host_that_is_away_is_asked_a_few_times_and_its_pictures_wait(world: World) -> None:
    pictures = [SHOWN._replace(code=f"{number:03}", picture=f"https://a.example/{number}") for number in range(100)]
    world.gives = {one.picture: UnavailableError("no answer in time") for one in pictures}
    world.show(*pictures)
    found = world.run()
    assert len(world.fetched) == found.problems <= BOUNDS.workers
    assert found.away == 100 - found.problems


def test_a_limit_ends_a_run_and_what_was_measured_before_a_kill_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "PORTION", 2)
    pictures = [SHOWN._replace(code=str(number), picture=f"https://{number}.example") for number in range(7)]
    world.gives = {one.picture: one.code.encode() for one in pictures}
    world.show(*pictures)
    seen: list[tuple[int, int | None]] = []
    found = world.run(replace(BOUNDS, limit=3), progress=lambda stage, done, total: seen.append((done, total)))
    assert found == Looked(measured=3, waiting=4)
    assert seen == [(2, 3), (3, 3)]

    def killed(stage: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.run(progress=killed)
    assert world.run() == Looked(measured=2)


def test_words_are_read_in_main_pictures_only_and_other_pictures_are_measured_of_named_products(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[bytes] = []

    def read(body: bytes) -> tuple[str, ...]:
        texts.append(body)
        if body == b"two":
            raise BadImageError(Fault.LIMITS, "the reader died")
        return ("SALE",)

    main, other = (
        SHOWN._replace(product_id=5),
        SHOWN._replace(key="2", is_main=False, product_id=5, picture="https://2"),
    )
    strange, far = SHOWN._replace(code="B", picture="https://3"), other._replace(code="C", product_id=6)
    world.gives = {main.picture: b"one", other.picture: b"other", strange.picture: b"two"}
    world.show(main, other, strange, far)
    assert world.run().measured == 2
    world.tools = replace(world.tools, words=without_model, words_by="r1")
    assert world.run() == Looked(measured=2, no_words="no model")
    monkeypatch.setattr(measuring, "PORTION", 1)
    # What waits for its words alone is not fetched again for a model that is not there.
    assert world.run() == Looked(measured=1, no_words="no model")
    world.tools = replace(world.tools, words=read)
    assert world.run() == Looked(measured=2, unread=1, why_unread="the reader died")
    assert sorted(texts) == [b"one", b"two"]
    assert world.run() == Looked()
    assert world.run(others_of=sa.select(sa.literal(5))) == Looked(measured=1)
    assert len(texts) == 2
    with world.database.connect() as connection:
        words = connection.execute(sa.text("SELECT sha256, words FROM imagesync.picture_measure")).all()
    assert {row.sha256: row.words for row in words} == {
        sha256(b"one"): ["SALE"],
        sha256(b"two"): None,
        sha256(b"other"): None,
    }
    later = replace(BOUNDS, now=NOW + timedelta(hours=25))
    assert world.run(later) == Looked(measured=1, unread=1, why_unread="the reader died")
    assert (world.run(later), texts[2:]) == (Looked(), [b"two"])
