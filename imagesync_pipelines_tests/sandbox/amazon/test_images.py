"""Proves that the image host serves real pictures by id and tokens, as the contract's section 4 has it."""

from io import BytesIO

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.amazon.hosts import ALIASES
from imagesync_pipelines.sandbox.amazon.listings import AmazonListing, ListedImage
from imagesync_pipelines.sandbox.amazon.pictures import AmazonPicture, Background, draw, read_name, small_copy
from imagesync_pipelines.sandbox.amazon.server import AmazonSandbox
from imagesync_pipelines_tests.sandbox import mishaps

pytestmark = pytest.mark.slow

WIDE = AmazonPicture("91uohwV+k3L", "wide", 1200, 800)
OTHER_CASE = AmazonPicture("91uohwv+k3L", "another look", 300, 300)


@pytest.fixture
def shown(amazon: AmazonSandbox) -> AmazonSandbox:
    """An Amazon that shows two pictures whose ids differ by case alone."""
    images = (ListedImage("MAIN", WIDE), ListedImage("PT01", OTHER_CASE))
    amazon.shelf.put(AmazonListing("B000000001", "US", "Two pictures", images))
    return amazon


def opened(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize(
    ("tokens", "size"),
    [
        ("", (1200, 800)),
        ("SL75", (75, 50)),
        ("SL5000", (1200, 800)),
        ("AC_SL600", (600, 400)),
        ("SX300", (300, 200)),
        ("SY200", (300, 200)),
        ("UL120", (120, 80)),
        ("SS100", (100, 100)),
        ("AC_UF600,1000_QL80", (600, 400)),
        ("SX258_BO1,204,203,200", (258, 172)),
        ("CR0,0,300,300", (300, 300)),
        ("CR1000,700,5000,5000", (200, 100)),
        ("CR5000,5000,10,10", (1200, 800)),
        ("V1", (1200, 800)),
        ("SL0", (1200, 800)),
        ("nonsense", (1200, 800)),
    ],
)
def test_tokens_make_a_picture_smaller_and_never_larger(tokens: str, size: tuple[int, int]) -> None:
    content, media_type = draw(WIDE, tokens)
    image = opened(content)
    assert (image.size, image.format, media_type) == (size, "JPEG", "image/jpeg")


@given(
    st.lists(
        st.one_of(
            st.builds(
                "{}{}".format,
                st.sampled_from(["SL", "SX", "SY", "SS", "UL", "UX", "UY", "US", "QL"]),
                st.integers(0, 10**9),
            ),
            st.builds(
                "{}{},{}".format, st.sampled_from(["UF", "SR", "CR"]), st.integers(0, 10**6), st.integers(0, 10**6)
            ),
            st.text("ABCSLX0123456789,aw²", max_size=6),
        ),
        max_size=4,
    ).map("_".join)
)
def test_no_tokens_make_a_picture_larger_or_break_it(tokens: str) -> None:
    picture = AmazonPicture("31aaaaaaaaL", "any", 120, 80)
    image = opened(draw(picture, tokens)[0])
    assert min(image.size) >= 1
    assert max(image.size) <= 120
    name = read_name(picture.name(tokens))
    assert name == (picture.id, tokens, "jpg")


def test_a_format_token_gives_webp_under_the_name_of_a_jpeg(shown: AmazonSandbox) -> None:
    answer = shown.fetch(WIDE.url(tokens="FMwebp"))
    assert (answer.content_type, opened(answer.body).format) == ("image/webp", "WEBP")


def test_a_picture_is_the_same_bytes_every_time_and_another_look_is_not() -> None:
    assert draw(WIDE) == draw(WIDE)
    assert draw(WIDE)[0] != draw(AmazonPicture(WIDE.id, "other", 1200, 800))[0]


def test_quality_changes_the_bytes_and_not_the_size() -> None:
    usual, poor = draw(WIDE)[0], draw(WIDE, "QL10")[0]
    assert len(poor) < len(usual)
    assert opened(poor).size == opened(usual).size


@pytest.mark.parametrize("background", [Background.WHITE, Background.GREY])
def test_the_frame_is_pure_white_or_clearly_is_not(background: Background) -> None:
    image = opened(draw(AmazonPicture("71aaaaaaaaL", "frame", 900, 900, background))[0]).convert("RGB")
    corners = [image.getpixel(at) for at in ((2, 2), (897, 2), (2, 897), (897, 897))]
    assert all((corner == (255, 255, 255)) is (background is Background.WHITE) for corner in corners)


def test_an_undecodable_picture_opens_but_cannot_be_read_to_its_end() -> None:
    content, _ = draw(AmazonPicture("71bbbbbbbbL", "broken", 900, 900, undecodable=True))
    image = Image.open(BytesIO(content))
    assert image.size == (900, 900)
    with pytest.raises(OSError, match="truncated"):
        image.load()


@pytest.mark.parametrize("host", ALIASES)
def test_every_alias_shows_the_same_bytes(shown: AmazonSandbox, host: str) -> None:
    assert shown.fetch(WIDE.url(f"http://{host}")).body == draw(WIDE)[0]


@pytest.mark.parametrize("address", ["/images/I/91uohwV+k3L.jpg", "/images/I/91uohwV%2Bk3L.jpg?ref=x"])
def test_a_plus_is_a_plus_however_it_is_written(shown: AmazonSandbox, address: str) -> None:
    answer = requests.get(shown.images_url + address, timeout=10)
    assert answer.content == draw(WIDE)[0]
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Length"] == str(len(answer.content))


def test_ids_are_case_sensitive(shown: AmazonSandbox) -> None:
    assert opened(shown.fetch(OTHER_CASE.url()).body).size == (300, 300)
    assert shown.fetch(WIDE.url().replace("91uohwV", "91UOHWV")).status == 404


@pytest.mark.parametrize(
    "name", ["91unknownnnL.jpg", "91uohwV+k3L.png", "91uohwV k3L.jpg", "91uohwV+k3L", "x/91uohwV+k3L.jpg", ""]
)
def test_what_is_not_there_is_a_404(shown: AmazonSandbox, name: str) -> None:
    assert shown.fetch(f"https://m.media-amazon.com/images/I/{name}").status == 404


def test_the_small_copy_shows_the_same_under_another_id(shown: AmazonSandbox) -> None:
    copy = small_copy(WIDE)
    assert copy is not None
    assert copy.id != WIDE.id
    small = opened(shown.fetch(copy.url()).body)
    assert small.size == (500, 333)
    # Shrunk to the same few pixels, both look alike; another picture does not.
    few = [opened(draw(one)[0]).convert("L").resize((9, 8)) for one in (WIDE, OTHER_CASE)]
    likeness = [_apart(small.convert("L").resize((9, 8)), one) for one in few]
    assert likeness[0] < 5 < 20 < likeness[1]


def _apart(one: Image.Image, other: Image.Image) -> float:
    pairs = zip(one.tobytes(), other.tobytes(), strict=True)
    return sum(abs(left - right) for left, right in pairs) / len(one.tobytes())


def test_a_small_picture_has_no_copy() -> None:
    assert small_copy(OTHER_CASE) is None


def test_a_legacy_address_gives_a_gif_of_one_pixel(shown: AmazonSandbox) -> None:
    answer = shown.fetch("http://images-na.ssl-images-amazon.com/images/P/B000000001.01.LZZZZZZZ.jpg")
    assert (answer.status, opened(answer.body).size, answer.content_type) == (200, (1, 1), "image/gif")


def test_a_name_is_read_whole() -> None:
    assert read_name("51DZzp3w3vL._SL75_.jpg") == ("51DZzp3w3vL", "SL75", "jpg")
    assert read_name("31+-aaaaaaL.jpg") == ("31+-aaaaaaL", "", "jpg")
    assert read_name("31+-aaaaaa.jpg") is None


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "part_of_body"),
    [
        (mishaps.forbidden_image(WIDE.id), 403, "text/plain", b""),
        (mishaps.missing_image(WIDE.id), 404, "image/jpeg", b""),
        (mishaps.unavailable_image(WIDE.id), 503, "text/plain", b"Unavailable"),
        (mishaps.html_image(WIDE.id), 200, "text/html; charset=utf-8", b"<html>"),
        (mishaps.html_image(WIDE.id, "image/jpeg"), 200, "image/jpeg", b"<html>"),
        (mishaps.tiny_image(WIDE.id), 200, "image/gif", b"GIF89a"),
    ],
)
def test_a_picture_may_go_wrong_and_others_do_not(
    shown: AmazonSandbox, fault: faults.WireFault, status: int, content_type: str, part_of_body: bytes
) -> None:
    shown.faults.add(fault)
    assert shown.fetch(OTHER_CASE.url()).status == 200
    answer = shown.fetch(WIDE.url())
    assert (answer.status, answer.content_type) == (status, content_type)
    assert part_of_body in answer.body
    assert shown.fetch(WIDE.url()).body == draw(WIDE)[0]
    assert shown.ledger.count("image") == 3


def test_half_a_picture_is_an_error_for_who_fetches(shown: AmazonSandbox) -> None:
    shown.faults.add(mishaps.truncated_image(WIDE.id))
    with pytest.raises(OSError, match="IncompleteRead"):
        shown.fetch(WIDE.url())


def test_a_slow_picture_comes_late(shown: AmazonSandbox) -> None:
    shown.faults.add(faults.latency(0.3).at("image", WIDE.id))
    assert shown.fetch(WIDE.url()).status == 200
    assert shown.ledger.calls("image")[0].seconds >= 0.3


@pytest.mark.parametrize(
    "url",
    [
        "https://pictures.example.com/uploads/cushion.jpg",
        "http://169.254.169.254/latest/meta-data",
        "https:/m.media-amazon.com images I",
        "https://[broken/images/I/91uohwV+k3L.jpg",
    ],
)
def test_nothing_is_fetched_from_outside_the_sandbox(amazon: AmazonSandbox, url: str) -> None:
    with pytest.raises(OSError, match=r"not in the sandbox|not an address"):
        amazon.fetch(url)


def test_a_redirect_is_followed_inside_the_sandbox_only(shown: AmazonSandbox) -> None:
    shown.faults.add(faults.redirect(OTHER_CASE.url()).at("image", WIDE.id))
    assert shown.fetch(WIDE.url()).body == draw(OTHER_CASE)[0]
    shown.faults.add(faults.redirect("http://pictures.example.com/").at("image", WIDE.id))
    with pytest.raises(OSError, match="not in the sandbox"):
        shown.fetch(WIDE.url())
    shown.faults.add(faults.redirect(WIDE.url()).at("image", WIDE.id).for_good())
    with pytest.raises(OSError, match="too many redirects"):
        shown.fetch(WIDE.url())
