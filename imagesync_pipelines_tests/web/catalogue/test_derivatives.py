"""Smaller copies over HTTP: made once, kept, encoded as asked, safe against what an upstream names or sends."""

import hashlib
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from PIL import Image

from imagesync_pipelines.connectors.edge.errors import StoreUnreachableError
from imagesync_pipelines.imaging.derivatives import Encoding
from imagesync_pipelines.products.originals import FAILED_SECONDS, Failed
from imagesync_pipelines.sandbox.head_office.photos import bomb
from imagesync_pipelines.storage.schema import image_content
from imagesync_pipelines.sync.connector import picture_at
from imagesync_pipelines.upstream.errors import NotFoundError, UnavailableError
from imagesync_pipelines.web.catalogue.pages import pictures
from imagesync_pipelines.web.catalogue.pages.pictures import CHECKED_EVERY, wanted_encoding
from imagesync_pipelines.web.catalogue.state import CatalogueSettings
from imagesync_pipelines_tests.web.catalogue.media import Media, media_host, picture
from imagesync_pipelines_tests.web.catalogue.world import NOW, Site, World, serving

PURPOSES, KINDS = ("thumb", "small", "web"), ("image/jpeg", "image/webp")
CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


@pytest.fixture
def media() -> Iterator[Media]:
    with media_host() as media:
        yield media


def test_a_copy_is_made_once_and_shown_while_the_media_host_is_away(site: Site, world: World, media: Media) -> None:
    image = world.image(world.product("100"), image_url=media.url("a.jpg", picture()))
    first = site.get(f"/media/{image}/web", Accept=CHROME)
    assert Image.open(io.BytesIO(first.content)).size == (1200, 800)
    assert site.get(f"/media/{image}/small", Accept="*/*").headers["Content-Type"] == "image/jpeg"
    assert media.asked == ["a.jpg"]
    media.bodies.clear()
    second = site.get(f"/media/{image}/web", Accept=CHROME)
    assert (second.content, second.headers["ETag"]) == (first.content, first.headers["ETag"])
    assert media.asked == ["a.jpg"]


def test_a_picture_whose_address_has_a_blank_is_shown(site: Site, world: World, media: Media) -> None:
    image = world.image(world.product("100"), image_url=f" {media.url('a b,ä.jpg', picture())}")
    assert Image.open(io.BytesIO(site.get(f"/media/{image}/web", Accept=CHROME).content)).size == (1200, 800)


@pytest.mark.parametrize("etags", [False, True])
def test_other_bytes_at_the_same_address_are_shown_within_a_day_in_every_size(
    world: World, media: Media, etags: bool
) -> None:
    media.etags = etags
    now = [NOW]
    address = media.url("a.jpg", picture())
    image = world.image(world.product("100"), image_url=address)
    with serving(replace(world.opened, clock=lambda: now[0])) as site:

        def seen() -> set[bytes]:
            return {
                site.get(f"/media/{image}/{purpose}", Accept=kind).content for purpose in PURPOSES for kind in KINDS
            }

        before = seen()
        assert (len(before), media.asked) == (6, ["a.jpg"])
        now[0] += CHECKED_EVERY
        assert seen() == before
        assert (len(media.asked), media.unchanged) == (2, ["a.jpg"] if etags else [])
        media.url("a.jpg", picture(colour="blue"))
        now[0] += CHECKED_EVERY / 2
        assert seen() == before, "it was asked lately"
        now[0] += CHECKED_EVERY / 2
        after = seen()
        assert not after & before
        assert len(media.asked) == 3
        old = site.get(f"/media/{image}/thumb", **{"If-None-Match": f'"{hashlib.sha256(min(before)).hexdigest()}"'})
        assert (old.status_code, old.content in after) == (200, True)
        now[0] += CHECKED_EVERY
        media.bodies.clear()
        assert seen() == after, "while the host does not have it, what was there is shown"


def test_a_browser_that_has_it_is_told_so_and_keeps_a_picture_of_elsewhere_for_an_hour(
    site: Site, world: World, media: Media
) -> None:
    image = world.image(world.product("100"), image_url=media.url("a.jpg", picture()), fingerprint="abcdef0123456789")
    first = site.get(f"/media/{image}/thumb?v=abcdef012345")
    assert first.headers["Cache-Control"] == "public, max-age=3600"
    assert first.headers["Vary"] == "Accept"
    again = site.get(f"/media/{image}/thumb?v=abcdef012345", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    for other in ("", "?v=", "?v=older0000000"):
        assert site.get(f"/media/{image}/thumb{other}").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (CHROME, Encoding.AVIF),
        ("image/webp,*/*", Encoding.WEBP),
        ("image/avif;q=0.1,image/webp;q=0.9", Encoding.WEBP),
        ("image/avif;q=0,image/webp;q=0", Encoding.JPEG),
        ("image/jpeg,image/webp;q=0.5", Encoding.JPEG),
        ("image/*", Encoding.JPEG),
        ("*/*", Encoding.JPEG),
        ("", Encoding.JPEG),
        ("image/avif;q=high, ;;,=", Encoding.JPEG),
    ],
)
def test_the_encoding_is_what_the_browser_names(accept: str, wanted: Encoding) -> None:
    assert wanted_encoding(accept) is wanted


def test_the_thumbnail_comes_from_the_sources_own_and_else_from_the_picture(
    site: Site, world: World, media: Media
) -> None:
    engel = world.product("100")
    small = media.url("small.png", picture((300, 200), "PNG", "blue"))
    first = world.image(engel, "1", image_url=media.url("a.jpg", picture()), thumbnail_url=small)
    site.get(f"/media/{first}/thumb")
    assert media.asked == ["small.png"]
    gone = media.url("gone.png")
    second = world.image(
        engel, "2", image_url=media.url("b.jpg", picture()), thumbnail_url=gone, is_primary=False, fingerprint="f2"
    )
    answer = site.get(f"/media/{second}/thumb")
    assert Image.open(io.BytesIO(answer.content)).size == (160, 107)
    assert media.asked == ["small.png", "gone.png", "b.jpg"]


def test_a_picture_that_changed_at_the_same_address_is_fetched_again(site: Site, world: World, media: Media) -> None:
    image = world.image(world.product("100"), image_url=media.url("a.jpg", picture()), newest_export=None)
    before = site.get(f"/media/{image}/thumb").content
    media.bodies["a.jpg"] = picture(colour="blue")
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE imagesync.product_image SET newest_export = '2026-11-20T10:00:00Z'"))
    assert site.get(f"/media/{image}/thumb").content != before


def spoilt() -> dict[str, bytes]:
    """What is no good picture, by name; the bomb takes a while to make, and only who shows it is to wait for it."""
    return {
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "html": b"<!doctype html><html>no picture</html>",
        "cut": picture()[:-500],
        "bomb": bomb(),
        "empty": b"",
        "text": b"no picture",
    }


def shown(world: World, urls: list[str]) -> list[int]:
    """Images with these addresses on one product."""
    engel = world.product("100")
    more = [{"is_primary": not at, "fingerprint": f"f{at}"} for at in range(len(urls))]
    return [world.image(engel, str(at), image_url=url, **more[at]) for at, url in enumerate(urls)]


def test_what_is_no_good_picture_is_a_grey_one_and_kept_nowhere(site: Site, world: World, media: Media) -> None:
    bodies = spoilt()
    for image in 2 * shown(world, [media.url(name, body) for name, body in bodies.items()]):
        answer = site.get(f"/media/{image}/web")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
        assert answer.headers["Cache-Control"] == "no-cache"
    with world.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(image_content)).scalar() == 0
    assert media.asked == list(bodies), "what failed is not asked for again at once"


INSIDE = (
    "http://localhost:{port}/a.jpg", "http://127.0.0.2:{port}/a.jpg", "http://[::1]:{port}/a.jpg",
    "http://2130706433:{port}/a.jpg", "http://0x7f.1:{port}/a.jpg", "http://[::ffff:127.0.0.1]:{port}/a.jpg",
    "http://169.254.169.254/latest/meta-data", "http://10.0.0.1/a.jpg", "file:///etc/passwd", "gopher://x/",
    "http://user:secret@127.0.0.1:{port}/a.jpg", "//127.0.0.1/a.jpg", "a.jpg", "http://[",
)  # fmt: skip


def test_no_address_inside_our_network_is_opened(site: Site, world: World, media: Media) -> None:
    media.url("a.jpg", picture())
    port = media.address.rpartition(":")[2]
    images = shown(world, [url.replace("{port}", port) for url in INSIDE])
    assert len(images) == 14
    for image in images:
        assert site.get(f"/media/{image}/small").headers["Content-Type"] == "image/svg+xml"
    assert media.asked == []


@pytest.mark.parametrize("limit", [{"derivative_max_bytes": 5000}, {"derivative_max_pixels": 1_499_999}], ids=str)
def test_a_picture_larger_than_the_settings_allow_is_a_grey_one(
    world: World, media: Media, limit: dict[str, int]
) -> None:
    small, large = picture((15, 10)), picture()
    assert len(small) < 5000 < len(large)
    images = shown(world, [media.url("small.jpg", small), media.url("large.jpg", large)])
    settings = CatalogueSettings(**limit)  # type: ignore[arg-type]
    with serving(replace(world.opened, settings=settings)) as site:
        kinds = [site.get(f"/media/{image}/web").headers["Content-Type"] for image in images]
    assert kinds == ["image/jpeg", "image/svg+xml"]


def test_pages_answer_while_a_media_host_hangs(site: Site, world: World, media: Media) -> None:
    images = shown(world, [media.url(f"{at}.jpg", picture()) for at in range(12)])
    media.held.clear()
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(site.get, f"/media/{image}/thumb") for image in images]
        while not media.asked:
            time.sleep(0.01)
        assert site.get("/").status_code == 200
        media.held.set()
        assert all(one.result().headers["Content-Type"] == "image/jpeg" for one in answers)


def test_a_copy_that_was_altered_on_disk_is_made_again(site: Site, world: World, media: Media, tmp_path: Path) -> None:
    image = world.image(world.product("100"), image_url=media.url("a.jpg", picture()))
    first = site.get(f"/media/{image}/thumb")
    (kept,) = tmp_path.glob(f"content/*/{first.headers['ETag'].strip(chr(34))}")
    kept.write_bytes(b"something else")
    assert site.get(f"/media/{image}/thumb").headers["Content-Type"] == "image/svg+xml"
    assert site.get(f"/media/{image}/thumb").content == first.content
    assert media.asked == ["a.jpg"]


def test_a_tiff_is_shown_as_a_picture_for_the_web(site: Site, world: World, media: Media) -> None:
    image = world.image(world.product("100"), image_url=media.url("a.tif", picture((2000, 1000), "TIFF")))
    answer = site.get(f"/media/{image}/small", Accept="image/webp")
    opened = Image.open(io.BytesIO(answer.content))
    assert (opened.format, opened.size) == ("WEBP", (480, 240))


def test_what_failed_is_known_for_a_while_a_host_that_is_away_with_all_its_addresses() -> None:
    now = [0.0]
    failed = Failed(clock=lambda: now[0])
    failed.note("https://a.example/1.jpg", NotFoundError("gone", status=404))
    failed.note("https://b.example/1.jpg", UnavailableError("no answer"))
    failed.note("at:edge:store1:7:photo-1", UnavailableError("no answer"))
    stores = ("at:edge:store1:8:photo-2", "at:edge:store2:7:photo-1", "kept:x:y")
    asked = ("https://a.example/1.jpg", "https://a.example/2.jpg", "https://b.example/2.jpg", *stores)
    assert [failed.knows(url) for url in asked] == [True, False, True, True, False, False]
    now[0] = FAILED_SECONDS + 1
    assert not any(failed.knows(url) for url in asked)


def test_a_store_that_is_offline_is_asked_once_and_not_for_every_picture(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read(engine: object, shared: object, account: str, key: str) -> bytes:
        asked.append(f"{account} {key}")
        if account == "offline":
            raise StoreUnreachableError("the store's database does not answer")
        return picture()

    monkeypatch.setattr(pictures, "connector_named", lambda name: SimpleNamespace(read_picture=read))
    kinds = []
    for account, key in (("offline", "1"), ("offline", "2"), ("store", "1"), ("offline", "3")):
        token = pictures.picture_token(world.opened, picture_at("edge", account, key, 7))
        kinds.append(site.get(f"/plan-pictures/{token}").headers["Content-Type"])
    assert asked == ["offline 1", "store 1"]
    assert kinds == ["image/svg+xml", "image/svg+xml", "image/jpeg", "image/svg+xml"]
