"""The pages of quality: how channels stand, what to do next with exactly its listings, worst first, files."""

import csv
import html
import io
import re
import zipfile
from collections.abc import Iterator

import pytest

from imagesync_pipelines.quality.rules import TO_DO, rule_sets
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.web.catalogue import exporting, photographer
from imagesync_pipelines.web.catalogue.pages import quality
from imagesync_pipelines_tests.web.catalogue.judging import BOTH, GOOD, GREY, SMALL, judge, show
from imagesync_pipelines_tests.web.catalogue.media import Media, media_host, picture
from imagesync_pipelines_tests.web.catalogue.test_pages import EVIL, Markup
from imagesync_pipelines_tests.web.catalogue.world import Site, World, serving


@pytest.fixture
def media() -> Iterator[Media]:
    with media_host() as media:
        yield media


@pytest.fixture
def judged(world: World) -> World:
    """Five listings of Plytix, one of another account: a grey one, small ones, one that is both, a good one."""
    product = world.product("100", "Engel")
    world.image(product)
    for code, measures in (("100", GREY), ("200", SMALL), ("210", SMALL), ("300", BOTH), ("400", GOOD)):
        show(world.engine, code, measures, product_id=product if code == "100" else None)
    show(world.engine, "900", {**SMALL, "words": None}, account="west", kind="variant")
    judge(world.engine)
    return world


def codes_of(text: str) -> list[str]:
    return re.findall(r'class="name"[^>]*>(\d+) Engel', text)


def test_before_anything_was_judged_the_page_says_how_it_begins(site: Site) -> None:
    page = site.get("/quality")
    assert page.status_code == 200
    assert "Nothing was judged yet" in page.text
    assert "QUALITY_SCHEDULE" in page.text
    assert site.get("/quality/report/csv").status_code == 404
    assert "Main picture fails" not in site.get("/").text


def test_a_channel_has_its_score_its_trend_and_the_worst_first_with_reasons(site: Site, judged: World) -> None:
    page = site.get("/quality?channel=amazon").text
    assert "5 of 6 fail" in page
    assert 'aria-label="Score of Amazon' in page
    assert codes_of(page) == ["300", "200", "210", "900", "100"], "the good one has nothing to say"
    assert "background 40 % pure white" in page
    assert "read on 20" in page, "where the rule stands, and since when"
    assert "Not looked at: Text" in page
    assert f'href="/products/{judged_product(judged)}#quality"' in page
    for query, codes in (
        ("account=west", ["900"]),
        ("kind=variant", ["900"]),
        ("connector=edge", []),
        ("rule=background", ["300", "100"]),
        ("to_do=cut_out", ["300", "100"]),
        ("channel=nothing&account=west", ["900"]),
    ):
        assert codes_of(site.get(f"/quality?channel=amazon&{query}").text) == codes, query


def judged_product(world: World) -> int:
    with world.engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT id FROM imagesync.product").scalar_one())


def test_what_to_do_next_leads_to_exactly_the_listings_that_it_frees(site: Site, judged: World) -> None:
    page = site.get("/quality?channel=amazon").text
    steps = re.findall(r'<li>([^<:]*):\s*<a href="([^"]*)">frees (\d+) listings?</a>', page)
    assert [(step, number) for step, _, number in steps] == [(TO_DO["larger"], "3"), (TO_DO["cut_out"], "1")]
    found = [codes_of(site.get("/quality" + html.unescape(link)).text) for _, link, _ in steps]
    assert found == [["200", "210", "900"], ["100"]]


def test_pages_follow_each_other_and_keep_the_filters(
    site: Site, judged: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "ROWS", 2)
    path: str | None = "/quality?channel=amazon&connector=plytix"
    codes = []
    while path is not None:
        page = site.get(path).text
        codes += codes_of(page)
        following = re.search(r'rel="next" href="([^"]*)"', page)
        path = "/quality" + html.unescape(following.group(1)) if following else None
    assert codes == ["300", "200", "210", "900", "100"]
    assert site.get("/quality?cursor=nonsense").status_code == 400


def test_the_page_of_a_product_says_what_is_wrong_with_its_main_picture(site: Site, judged: World) -> None:
    page = site.get(f"/products/{judged_product(judged)}").text
    assert "Quality of its main picture" in page
    assert "background 40 % pure white" in page
    other = judged.product("500", "Fuchs")
    assert "Quality of its main picture" not in site.get(f"/products/{other}").text


def test_the_list_finds_products_whose_main_picture_fails(site: Site, judged: World) -> None:
    for sku in ("500", "600"):
        judged.image(judged.product(sku, "Fuchs"), sku)
    page = site.get("/")
    assert '<option value="amazon">' in page.text
    found = site.get("/?refused_by=amazon").text
    assert "1 of 3 products fits" in found
    assert re.findall(r'class="sku">(\d+)<', found) == ["100"]
    assert '<option value="amazon" selected>' in found
    assert re.findall(r'class="sku">(\d+)<', site.get("/?refused_by=google").text) == []
    csv_text = site.get("/exports/csv?refused_by=amazon").content.decode("utf-8-sig")
    assert [row["sku"] for row in csv.DictReader(io.StringIO(csv_text))] == ["100"]


def test_the_photographer_gets_a_table_that_no_spreadsheet_calculates(site: Site, judged: World) -> None:
    show(judged.engine, "=1+1", SMALL, name="=cmd|x", account="north")
    judge(judged.engine)
    unknown = site.get("/quality/report/csv?channel=nobodys")
    assert (unknown.status_code, "rules called nobodys" in unknown.text) == (404, True)
    answer = site.get("/quality/report/csv?channel=amazon&to_do=larger")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="pictures_amazon.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert tuple(rows[0]) == photographer.COLUMNS
    assert {row["code"] for row in rows} == {"200", "210", "300", "900", "'=1+1"}
    one = next(row for row in rows if row["code"] == "200")
    assert one["what_to_do"] == TO_DO["larger"]
    assert one["picture"] == "https://media.example.com/200.jpg"
    assert one["size_now"] == "300 x 300"
    amazon = rule_sets(load_settings(QualitySettings))["amazon"]
    assert one["sizes_wanted"] == photographer.sizes_wanted(amazon)
    assert re.fullmatch(r"longer side at least \d+ px.*", one["sizes_wanted"])


def test_the_archive_has_the_pictures_that_can_be_had(site: Site, judged: World, media: Media) -> None:
    show(judged.engine, "a/../b", BOTH, account="north", picture=media.url("a.jpg", picture()))
    judge(judged.engine)
    answer = site.get("/quality/report/zip?channel=amazon&account=north")
    assert answer.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.testzip() is None
        assert packed.namelist() == [photographer.TABLE, "001_a_.._b.jpg"]
        assert packed.read("001_a_.._b.jpg").startswith(b"\xff\xd8")
        [row] = csv.DictReader(io.StringIO(packed.read(photographer.TABLE).decode("utf-8-sig")))
        assert (row["code"], row["file"]) == ("a/../b", "001_a_.._b.jpg")
    whole = zipfile.ZipFile(io.BytesIO(site.get("/quality/report/zip?channel=amazon&account=west").content))
    assert whole.namelist() == [photographer.TABLE, photographer.MISSING]
    assert "900" in whole.read(photographer.MISSING).decode()


def test_few_archives_are_made_at_once_and_each_leaves_its_place(
    site: Site, judged: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/quality/report/zip?channel=amazon&connector=none"
    assert {site.get(path).status_code for _ in range(exporting.COMING_AT_ONCE + 1)} == {200}
    monkeypatch.setattr(exporting, "COMING_AT_ONCE", 0)
    with serving(judged.opened) as full:
        refused = full.get(path)
        assert (refused.status_code, "try again soon" in refused.text) == (503, True)


def test_nothing_that_a_channel_names_is_taken_for_markup(site: Site, world: World) -> None:
    show(world.engine, EVIL, {**BOTH, "words": (EVIL,)}, name=EVIL, kind=EVIL, account=EVIL, picture=EVIL)
    judge(world.engine)
    page = Markup(site.get("/quality?channel=amazon").text)
    assert [one for one in page.all("script") if "src" not in one] == []
    assert all("onerror" not in one for one in page.all("img"))
