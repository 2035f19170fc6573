"""The pages over HTTP: what is shown, what is refused, and that nothing of an upstream is ever taken for markup."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.schema import plan, unmatched_article
from imagesync_pipelines.sync.job_runs import PastRun, job_words
from imagesync_pipelines.web.catalogue.pages.rendering import cost_words
from imagesync_pipelines.web.catalogue.views import plain_query
from imagesync_pipelines_tests.generated import SNAPSHOT
from imagesync_pipelines_tests.web.catalogue.world import NOW, Run, Site, World, open_world, serving

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"


class Markup(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def shop(world: World) -> dict[str, int]:
    """A product with two pictures, one without."""
    engel, bare = world.product("100", "Engel"), world.product("200", "Bär")
    first = world.image(engel, "1")
    second = world.image(
        engel, "2", is_primary=False, priority=2, is_front=False, height=200, alt_text="Engel von hinten"
    )
    return {"engel": engel, "bare": bare, "first": first, "second": second}


def test_every_answer_says_what_a_browser_may_do(site: Site, shop: dict[str, int]) -> None:
    for path in ("/", f"/products/{shop['engel']}", "/history", "/plans", "/nothing", "/static/catalogue.css"):
        answer = site.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"


def test_a_page_has_no_inline_script_or_style_and_loads_from_this_host_only(site: Site, shop: dict[str, int]) -> None:
    for path in ("/", f"/products/{shop['engel']}", f"/products/{shop['bare']}", "/history", "/plans", "/nothing"):
        markup = Markup(site.get(path).text)
        assert not markup.all("style")
        assert not [one for _, one in markup.tags if "style" in one or any(name.startswith("on") for name in one)]
        assert all((one["src"] or "").startswith("/static/") for one in markup.all("script"))
        assert all((one["src"] or "").startswith("/") for one in markup.all("img"))
        assert all((one["href"] or "").startswith("/static/") for one in markup.all("link"))


def test_the_list_shows_products_with_their_pictures_and_goes_on(
    site: Site, world: World, shop: dict[str, int]
) -> None:
    for sku in ("300", "400"):
        world.product(sku)
    first = site.get("/")
    assert first.status_code == 200
    assert f"/media/{shop['first']}/small?v=f1" in first.text
    assert "no picture" in first.text
    assert "4 products; the first 3, with pictures first" in " ".join(first.text.split())
    following = re.search(r'href="(/\?cursor=[^"]+)"', first.text)
    assert following is not None
    assert "400" in site.get(following[1]).text
    assert "<html" in site.get(following[1]).text


def test_htmx_gets_the_part_it_asks_for(site: Site, world: World, shop: dict[str, int]) -> None:
    for sku in ("300", "400"):
        world.product(sku)
    part = site.get("/?q=", **{"HX-Request": "true"})
    assert "<html" not in part.text
    assert '<section id="results"' in part.text
    assert part.headers["Vary"] == "HX-Request, Cookie, Accept-Language", "it has somebody's views and language"
    cursor = re.search(r"cursor=([^\"&]+)", part.text)
    assert cursor is not None
    cards = site.get(f"/?cursor={cursor[1]}", **{"HX-Request": "true"})
    assert "<section" not in cards.text
    assert cards.text.strip().startswith("<li")
    restored = site.get("/", **{"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<html" in restored.text


def test_the_numbers_of_the_filters_come_after_the_page(site: Site, shop: dict[str, int]) -> None:
    text = site.get("/counts", **{"HX-Request": "true"}).text
    assert re.search(r'id="count-without_image"[^>]*>1<', text)


def test_the_product_page_shows_the_primary_large_and_says_everything_of_it(site: Site, shop: dict[str, int]) -> None:
    text = site.get(f"/products/{shop['engel']}").text
    large = next(one for one in Markup(text).all("img") if one.get("id") == "large")
    assert (large["src"], large["alt"]) == (f"/media/{shop['first']}/web?v=f1", "Engel - Produktfoto")
    for told in ("1920 × 1280", "JPEG", "variant sku", "large enough", "Desktop app", "front view", "Picture 1 of 2"):
        assert told in text


def test_without_script_the_address_chooses_the_picture(site: Site, shop: dict[str, int]) -> None:
    text = site.get(f"/products/{shop['engel']}?image={shop['second']}").text
    large = next(one for one in Markup(text).all("img") if one.get("id") == "large")
    panels = [one for one in Markup(text).all("section") if "data-about" in one]
    assert large["alt"] == "Engel von hinten"
    assert [panel["data-about"] for panel in panels if "hidden" not in panel] == [str(shop["second"])]
    assert "low resolution" in text


def test_a_picture_of_another_product_is_not_chosen(site: Site, shop: dict[str, int]) -> None:
    assert "Picture 1 of 2" in site.get(f"/products/{shop['engel']}?image=999").text


def test_a_product_without_pictures_says_so(site: Site, shop: dict[str, int]) -> None:
    text = site.get(f"/products/{shop['bare']}").text
    assert "This product has no pictures" in text
    assert "/static/no-picture.svg" in text


def test_a_sku_leads_to_its_product(site: Site, world: World) -> None:
    slashed = world.product("A/1 ü")
    answer = site.get("/sku/A/1%20%C3%BC")
    assert answer.status_code == 307
    assert answer.headers["Location"].endswith(f"/products/{slashed}")
    assert site.get("/sku/nothing").status_code == 404


ADDRESSES = {
    "/products/0": 400,
    "/products/99999999999999999999": 400,
    "/products/9223372036854775807": 404,
    "/products/x": 400,
    "/products/1?image=x": 400,
    "/?cursor=made-up": 400,
    "/?changed_since=yesterday": 400,
    "/?changed_since=0001-01-01": 400,
    "/?changed_since=0002-01-01": 200,
    "/?q=" + "x" * 201: 400,
    "/?q=%00": 400,
    "/?kind=thing": 400,
    "/plans/99": 404,
    "/plans/1?change=drop": 400,
    "/static/../app.py": 404,
    "/static/%2e%2e/app.py": 404,
    "/plan-pictures/made.up": 404,
    "/media/1/huge": 400,
    "/history?connector=nowhere": 200,
    "/docs": 404,
    "/openapi.json": 404,
}


def test_an_address_that_makes_no_sense_is_a_page_for_people(site: Site) -> None:
    answers = {path: site.get(path) for path in ADDRESSES}
    assert {path: answer.status_code for path, answer in answers.items()} == ADDRESSES
    for answer in answers.values():
        assert "text/html" in answer.headers["Content-Type"]
        assert "Traceback" not in answer.text
        assert "<main" in answer.text


def test_what_an_upstream_says_is_never_markup(site: Site, world: World) -> None:
    parent = world.product(f"P{EVIL}"[:50], EVIL, kind="parent", legacy_sku=EVIL[:50], erp_id="1")
    evil = world.product(EVIL[:50], EVIL, parent=parent, variant_code='"><b>', legacy_sku=EVIL[:50], erp_id="2")
    world.image(
        evil,
        f"1{EVIL}",
        image_url=f"javascript:alert(1)//{EVIL}",
        image_type=EVIL[:50],
        alt_text=EVIL,
        matched_by=EVIL[:50],
        chosen_because=EVIL,
        image_format='"><b>',
        fingerprint=EVIL,
        metadata={"original_file": {"uploaded_from": EVIL}},
    )
    with world.engine.begin() as connection:
        near = [{"sku": EVIL[:50], "name": EVIL, "why": EVIL}]
        values = {"number": EVIL, "variant": EVIL, "external_id": EVIL, "image_type": EVIL, "reason": EVIL}
        connection.execute(unmatched_article.insert().values(candidates=near, **values))
    for path in ("/", f"/products/{evil}", f"/products/{parent}", f"/?q={EVIL}", f"/sku/x{EVIL}"):
        answer = site.get(path)
        markup = Markup(answer.text)
        assert answer.status_code in (200, 404)
        assert {one.get("src") for one in markup.all("script")} == {
            "/static/vendored/htmx-2.0.11.min.js",
            "/static/catalogue.js",
        }
        assert not markup.all("b")
        assert not [one for _, one in markup.tags if "onerror" in one or one.get("src") == "x"]
        assert "49" not in re.sub(r"\d{3,}", "", answer.text)
        assert not [one for one in markup.all("a") if (one.get("href") or "").lower().startswith("javascript")]


def test_a_picture_that_cannot_be_had_is_a_grey_one(site: Site, shop: dict[str, int]) -> None:
    for image in (shop["first"], 4711):
        answer = site.get(f"/media/{image}/thumb")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
        assert answer.headers["Cache-Control"] == "no-cache"


def test_the_age_of_the_pictures_is_told_on_every_page(site: Site, world: World) -> None:
    assert "Nothing was synchronised yet" in site.get("/").text
    values = {"connector": "image_db", "path": "", "files": {}, "scope": {}, "counts": {}, "cost": {}}
    with world.engine.begin() as connection:
        connection.execute(plan.insert().values(applied_at=NOW - timedelta(days=3), **values))
    engel = world.product("100")
    for path in ("/", f"/products/{engel}", "/history", "/plans", "/login"):
        late = site.get(path).text
        assert "Pictures as of" in late, path
        assert "3 days ago" in late, path
        assert "older than it should be" in late, path
    with world.engine.begin() as connection:
        connection.execute(plan.insert().values(applied_at=NOW - timedelta(hours=1), **values))
    assert "1 hour ago" in site.get("/").text
    assert "older than it should be" not in site.get("/").text


RUNS = [
    Run(run_id="aaaa", status="in_progress", completed=None, added=None, updated=None),
    Run(
        run_id="bbbb",
        status="failed",
        error=f"It broke {EVIL}",
        partition="store-1",
        connector="edge",
        job="edge__sync",
    ),
    Run(run_id="cccc", partition="000001-000010 to 000021-000030", summary={"warnings": ["two pages were late"]}),
    Run(run_id="dddd", connector=None, job="house_keeping"),
]


def test_history_tells_every_run_and_draws_it(database: sa.Engine, tmp_path: Path) -> None:
    asked: list[tuple[int, str | None]] = []

    def read(limit: int, connector: str | None) -> Sequence[PastRun]:
        asked.append((limit, connector))
        return RUNS

    with serving(open_world(database, tmp_path, read).opened) as site:
        text = site.get("/history").text
        site.get("/history?connector=edge")
        site.get("/history?connector=edge")
    for told in ("in progress", "failed", "It broke", "store-1", "two pages were late", "2 min 0 s", "House keeping"):
        assert told in text
    assert "000001" not in text
    assert 'href="http://127.0.0.1:3000/runs/bbbb"' in text
    assert len(Markup(text).all("script")) == 2
    assert [one["class"] for one in Markup(text).all("rect")].count("added") == 3
    assert asked == [(50, None), (50, "edge")]


def test_every_run_has_its_row(database: sa.Engine, tmp_path: Path) -> None:
    runs = [
        Run(run_id="a", job="image_db__sync", added=1234, updated=5, deleted=6, products_affected=7),
        Run(run_id="b", job=f"j{EVIL}", connector=None, partition=EVIL, status="failed", error="Page 7 is broken.",
            added=None, updated=None, deleted=None, products_affected=None, summary={"warnings": [EVIL]}),
    ]  # fmt: skip
    with serving(open_world(database, tmp_path, lambda limit, connector: runs).opened) as site:
        text = site.get("/history").text
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    cells = [
        " ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in re.findall(r"<td[^>]*>(.*?)</td>", body, re.DOTALL)
    ]
    times = ["1 hour ago", "58 minutes ago", "2 min 0 s"]
    assert cells[1:9] == ["completed", *times, "1,234", "5", "6", "7"]
    assert cells[10:18] == ["failed", *times, "–", "–", "–", "–"]
    assert cells[18].startswith("Page 7 is broken.")
    assert "<script>alert" not in text
    assert "<img src=x" not in text


def test_history_without_dagster_says_so_and_the_other_pages_go_on(database: sa.Engine, tmp_path: Path) -> None:
    def broken(limit: int, connector: str | None) -> Sequence[PastRun]:
        raise ConnectionError("password=secret")

    with serving(open_world(database, tmp_path, broken).opened) as site:
        answer = site.get("/history")
        assert site.get("/").status_code == 200
    assert answer.status_code == 200
    assert "cannot be read at the moment" in answer.text
    assert "secret" not in answer.text


def test_without_its_database_a_page_says_to_try_again(world: World) -> None:
    lost = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing", connect_args={"connect_timeout": 1})
    with serving(replace(world.opened, engine=lost)) as broken:
        answer = broken.get("/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "does not answer" in answer.text


def test_an_error_of_ours_tells_nothing_of_itself(world: World) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("password=secret")

    with serving(replace(world.opened, showing=Broken())) as site:
        answer, russian = site.get("/"), site.get("/", **{"Accept-Language": "ru"})
    assert answer.status_code == 500
    assert '<html lang="ru">' in russian.text
    assert "That is our fault" in answer.text
    assert "secret" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_of_the_list_costs_a_few_statements_however_many_products_it_has(world: World, site: Site) -> None:
    """The products, of which none is left without a picture, whose images they show, the first image of each and all
    about it; how many there are; how old it all is; once a minute, who judges main pictures.
    """
    for number in range(3):
        world.image(world.product(str(number)), str(number))
    seen: list[str] = []
    sa.event.listen(world.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    assert site.get("/").status_code == 200
    assert len(seen) == 8, seen


def test_a_picture_by_itself_leads_to_its_neighbours_and_to_its_files(site: Site, shop: dict[str, int]) -> None:
    first, second = (f"/products/{shop['engel']}/pictures/{shop[name]}" for name in ("first", "second"))
    text = site.get(first).text
    assert "Picture 1 of 2" in text
    assert f'rel="next" href="{second}"' in text
    assert 'rel="prev"' not in text
    assert f'href="/pictures/{shop["first"]}/download"' in text
    assert 'href="https://media.example.com/1.jpg"' in text
    assert f'rel="prev" href="{first}"' in site.get(second).text
    assert site.get(f"/products/{shop['bare']}/pictures/{shop['first']}").status_code == 404
    assert site.get("/pictures/99/download").status_code == 404


def test_a_kept_view_has_only_what_the_list_understands() -> None:
    assert plain_query("q=a+b&cursor=x&order=name&kind=&evil=%22") == "q=a+b&order=name"


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({"calls": 0, "bytes": 0, "minutes": 0}, "no call to another system"),
        ({"calls": 8, "bytes": 1_005_568, "minutes": 0.01}, "8 calls, 1.0 MB"),
        ({"calls": 1, "bytes": 900, "minutes": 1}, "1 call, 0.9 kB, at least 1 minute"),
        ({"calls": 0, "calls_if_approved": 5}, "no call to another system; with what the limits hold back 5 calls"),
    ],
)
def test_a_cost_is_words(cost: dict[str, float], said: str) -> None:
    assert cost_words(cost) == said


def test_jobs_are_words() -> None:
    jobs = json.loads(SNAPSHOT.read_text())["jobs"]
    assert [one for one in jobs if job_words(one) in {"", "Run"} or "job" in job_words(one)] == []
    assert [job_words(one) for one in ("image_db__sync", "edge__dry_run", "house_keeping", "__ASSET_JOB")] == [
        "Synchronisation", "Only a plan", "House keeping", "Chosen steps"
    ]  # fmt: skip
