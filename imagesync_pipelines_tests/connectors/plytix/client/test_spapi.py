"""Amazon's catalogue: 20 items a call, within its rate, only this marketplace's images, parents fetched as well."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.client.amazon import CatalogueApi, item_from_json
from imagesync_pipelines.connectors.plytix.errors import NotAllowedError
from imagesync_pipelines.connectors.plytix.model import ItemImage
from imagesync_pipelines.connectors.plytix.rules import MARKETPLACES
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.upstream.errors import BadAnswerError, CredentialsError, RateLimitedError, UnavailableError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines_tests.upstream.servers import FakeTime, Request, http, json_answer, serve

US, CA = "ATVPDKIKX0DER", "A2EUQ1WTGCTBG2"
LINK = "https://m.media-amazon.com/images/I/{}.jpg"
QUOTA = json_answer({"errors": [{"code": "QuotaExceeded", "message": "You exceeded your quota"}]}, 429)
CREDENTIALS = {
    "spapi_client_id": "client-1",
    "spapi_client_secret": "secret-4711",
    "spapi_refresh_token": "refresh-0815",
}


@dataclass
class Amazon:
    """What was asked, and how it is answered: by default with an item per ASIN asked for."""

    fake: FakeTime
    url: str = ""
    searches: list[dict[str, str]] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    answer: Callable[[dict[str, str], int], bytes | None] = lambda query, number: None
    login_answer: bytes | None = None
    bucket: float = 2.0
    filled_at: float = 0.0

    def search(self, query: dict[str, str], token: str) -> bytes:
        """Answer a search; the rate is Amazon's token bucket."""
        self.searches.append(query | {"token": token})
        self.bucket = min(2.0, self.bucket + 2 * (self.fake.now - self.filled_at)) - 1
        self.filled_at = self.fake.now
        if self.bucket < 0:
            self.bucket = 0
            return QUOTA
        special = self.answer(query, len(self.searches))
        if special is not None:
            return special
        wanted = query["identifiers"].split(",")
        assert len(wanted) <= 20
        found = [self.items.get(asin, an_item(asin)) for asin in wanted if self.items.get(asin, True)]
        return json_answer({"numberOfResults": len(found), "items": found})


def an_item(asin: str, **more: object) -> dict[str, Any]:
    images = [{"variant": "MAIN", "link": LINK.format(f"9{asin}"), "height": 900, "width": 1000}]
    return {"asin": asin, "images": [{"marketplaceId": US, "images": images}], **more}


def asin(number: int) -> str:
    return f"B{number:09d}"


@contextmanager
def amazon(engine: sa.Engine, **settings: Any) -> Iterator[tuple[Amazon, CatalogueApi]]:
    """Run a small Amazon and a client of it, on one fake time."""
    host = Amazon(FakeTime())

    def script(request: Request, _: int) -> list[bytes]:
        if request.target == "/auth/o2/token":
            host.tokens.append(json.loads(request.body))
            fresh = {"access_token": f"token {len(host.tokens)}", "expires_in": 3600, "token_type": "bearer"}
            return [host.login_answer or json_answer(fresh)]
        parts = urlsplit(request.target)
        assert parts.path == "/catalog/2022-04-01/items"
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return [host.search(query, request.headers["x-amz-access-token"])]

    with serve(script) as served:
        given = {"spapi_url": served.url, "spapi_token_url": f"{served.url}/auth/o2/token", **CREDENTIALS, **settings}
        timing = Timing(clock=host.fake.clock, sleep=host.fake.sleep, random=lambda: 0.0, wall=host.fake.clock)
        with closing(CatalogueApi(PlytixSettings(_env_file=None, **given), engine, timing=timing)) as api:
            yield host, api


def test_twenty_items_are_asked_for_in_one_call_and_the_rate_is_never_exceeded(database: sa.Engine) -> None:
    with amazon(database) as (host, api):
        catalogue = api.items([asin(number) for number in range(170)], "US")
        assert [item.asin for item in catalogue.items] == [asin(number) for number in range(170)]
        # Nine calls: none was refused, or it would have been made again.
        assert (api.calls, api.token_calls) == (9, 1)
        assert host.fake.now - 1000 < 9 / 2 * 1.05 + 1
        assert host.searches[8] == {
            "identifiers": ",".join(asin(number) for number in range(160, 170)),
            "identifiersType": "ASIN",
            "marketplaceIds": US,
            "includedData": "summaries,images,relationships",
            "pageSize": "20",
            "token": "token 1",
        }
        assert host.tokens == [
            {
                "grant_type": "refresh_token",
                "refresh_token": "refresh-0815",
                "client_id": "client-1",
                "client_secret": "secret-4711",
            }
        ]


def test_a_detail_of_an_image_that_cannot_be_read_costs_no_picture() -> None:
    raw = an_item(asin(1))
    raw["images"][0]["images"][0] |= {"width": "1500 px", "height": 900}
    item, left_out = item_from_json(raw, MARKETPLACES["US"])
    assert item.images == (ItemImage("MAIN", LINK.format(f"9{asin(1)}"), None, 900),)
    assert left_out == ("images.0.images.0.width '1500 px'",)


def test_an_item_is_read_for_its_marketplace_only(database: sa.Engine) -> None:
    shown = [{"variant": "MAIN", "link": LINK.format("91shownaaaL"), "height": 1, "width": 2}, {"link": "y"}]
    other = [{"variant": "MAIN", "link": "x", "height": 1, "width": 2}]
    raw = {
        "asin": asin(1),
        "images": [{"marketplaceId": CA, "images": other}, {"marketplaceId": US, "images": shown}],
        "summaries": [
            {"marketplaceId": CA, "itemClassification": "VARIATION_PARENT"},
            {"marketplaceId": US, "itemClassification": "BASE_PRODUCT"},
        ],
        "relationships": [
            {"marketplaceId": US, "relationships": [{"type": "PACKAGE_HIERARCHY", "parentAsins": [asin(8)]}]}
        ],
    }
    with amazon(database) as (host, api):
        host.items[asin(1)] = raw
        [item] = api.items([asin(1)], "US").items
    assert item.images == (ItemImage("MAIN", LINK.format("91shownaaaL"), 2, 1), ItemImage(None, "y"))
    assert (item.sku, item.is_parent, item.parent_asin) == (f"AMZN-US-{asin(1)}", False, "")


@pytest.mark.parametrize(
    "parent",
    [
        {"summaries": [{"marketplaceId": US, "itemClassification": "VARIATION_PARENT"}]},
        {
            "relationships": [
                {"marketplaceId": US, "relationships": [{"type": "VARIATION", "childAsins": [asin(1), asin(2)]}]}
            ]
        },
    ],
    ids=["by its classification", "by its children"],
)
def test_parents_are_fetched_once_and_known_as_such(database: sa.Engine, parent: dict[str, object]) -> None:
    names = [{"marketplaceId": US, "relationships": [{"type": "VARIATION", "parentAsins": [asin(9)]}]}]
    with amazon(database) as (host, api):
        host.items |= {asin(number): an_item(asin(number), relationships=names) for number in (1, 2)}
        host.items[asin(9)] = an_item(asin(9), **parent)
        items = api.items([asin(1), asin(2)], "US").items
        assert [(item.asin, item.is_parent) for item in items] == [
            (asin(1), False), (asin(2), False), (asin(9), True),
        ]  # fmt: skip
        assert [search["identifiers"] for search in host.searches] == [f"{asin(1)},{asin(2)}", asin(9)]


def test_what_amazon_does_not_have_is_missing_and_what_cannot_be_read_is_set_aside(database: sa.Engine) -> None:
    with amazon(database) as (host, api):
        host.items[asin(2)] = {}
        host.items[asin(3)] = {"asin": asin(3), "images": [{"marketplaceId": US, "images": [{"variant": "MAIN"}]}]}
        host.items[asin(4)] = {"asin": asin(4), "images": None, "summaries": []}
        catalogue = api.items([asin(number) for number in (1, 2, 3, 4)] + ["short"], "US")
    assert [(item.asin, len(item.images)) for item in catalogue.items] == [(asin(1), 1), (asin(4), 0)]
    assert catalogue.missing == (asin(2),)
    assert [(entry.where, entry.reason) for entry in catalogue.set_aside] == [
        ("short", "no ASIN"), (asin(3), "images.0.images.0.link: missing"),
    ]  # fmt: skip


def test_pages_are_followed_by_their_token_and_never_for_ever(database: sa.Engine) -> None:
    pages = [
        {"items": [an_item(asin(1))], "pagination": {"nextToken": "second"}},
        {"items": [an_item(asin(2)), an_item("B00STRANGE")], "pagination": {"nextToken": "second"}},
    ]
    with amazon(database) as (host, api):
        host.answer = lambda query, number: json_answer(pages[number - 1])
        assert [item.asin for item in api.items([asin(1), asin(2)], "US").items] == [asin(1), asin(2)]
        assert [search.get("pageToken") for search in host.searches] == [None, "second"]


def test_a_refusal_for_the_rate_is_waited_for(database: sa.Engine) -> None:
    with amazon(database) as (host, api):
        host.answer = lambda query, number: QUOTA if number <= 6 else None
        assert len(api.items([asin(1)], "US").items) == 1
        assert api.calls == 7
        host.answer = lambda query, number: QUOTA
        with pytest.raises(RateLimitedError):
            api.items([asin(1)], "US")


def test_what_passes_is_tried_again(database: sa.Engine) -> None:
    with amazon(database) as (host, api):
        host.answer = lambda query, number: http(503) if number == 1 else None
        assert len(api.items([asin(1)], "US").items) == 1
        host.answer = lambda query, number: http(503)
        with pytest.raises(UnavailableError, match="4 attempts"):
            api.items([asin(1)], "US")


def test_a_token_is_renewed_before_its_end_and_once_when_refused(database: sa.Engine) -> None:
    with amazon(database) as (host, api):
        api.items([asin(1)], "US")
        host.fake.now += 3550
        api.items([asin(1)], "US")
        assert api.token_calls == 2
        host.answer = lambda query, number: http(403) if number == 3 else None
        api.items([asin(1)], "US")
        assert (api.token_calls, host.searches[-1]["token"]) == (3, "token 3")


@pytest.mark.parametrize(("status", "kind"), [(403, NotAllowedError), (401, CredentialsError)])
def test_a_right_that_is_missing_is_said_after_one_new_token(
    database: sa.Engine, status: int, kind: type[Exception]
) -> None:
    with amazon(database) as (host, api):
        host.answer = lambda query, number: http(status)
        with pytest.raises(kind):
            api.items([asin(1)], "US")
        assert (api.calls, api.token_calls) == (2, 2)


def test_credentials_that_are_refused_are_not_shown(database: sa.Engine) -> None:
    with amazon(database) as (host, api):
        host.login_answer = json_answer({"error": "invalid_grant", "error_description": "refresh-0815"}, 400)
        with pytest.raises(CredentialsError, match="PLYTIX_SPAPI_REFRESH_TOKEN") as caught:
            api.items([asin(1)], "US")
        assert "0815" not in str(caught.value)


@pytest.mark.parametrize("answer", [json_answer([]), json_answer({}), json_answer({"items": {}})])
def test_an_answer_without_items_is_said_so(database: sa.Engine, answer: bytes) -> None:
    with amazon(database) as (host, api):
        host.answer = lambda query, number: answer
        with pytest.raises(BadAnswerError):
            api.items([asin(1)], "US")


def test_what_is_not_set_is_named(database: sa.Engine) -> None:
    with pytest.raises(SettingsError, match="PLYTIX_SPAPI_CLIENT_ID"):
        CatalogueApi(PlytixSettings(_env_file=None), database)
    with amazon(database) as (_, api), pytest.raises(SettingsError, match="marketplace 'XX' is not known"):
        api.items([asin(1)], "XX")


@pytest.mark.parametrize("country", sorted(MARKETPLACES))
def test_every_marketplace_is_asked_for_by_its_id(database: sa.Engine, country: str) -> None:
    with amazon(database) as (host, api):
        api.items([asin(1)], country)
    assert [query["marketplaceIds"] for query in host.searches] == [MARKETPLACES[country].id]


def test_a_marketplace_of_another_host_of_amazon_is_refused_before_any_call(database: sa.Engine) -> None:
    settings = PlytixSettings(_env_file=None, spapi_url="https://sellingpartnerapi-na.amazon.com", **CREDENTIALS)
    with closing(CatalogueApi(settings, database)) as api:
        with pytest.raises(SettingsError, match=r"PLYTIX_SPAPI_URL: .*set it to https://sellingpartnerapi-eu\.amazon"):
            api.items([asin(1)], "FR")
        assert (api.calls, api.token_calls) == (0, 0)
