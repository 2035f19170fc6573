"""The page contract: envelope, next link, the end of the data and what only looks like it."""

import json
from typing import Any

import pytest

from imagesync_pipelines.connectors.image_db.client import fetch_page
from imagesync_pipelines.connectors.image_db.errors import BadPageError, PastTheEndError
from imagesync_pipelines.connectors.image_db.records import PageAnswer, next_page_of, parse_page
from imagesync_pipelines.upstream.errors import MalformedJsonError, NotJsonError
from imagesync_pipelines_tests.connectors.image_db.made_up import page, record
from imagesync_pipelines_tests.upstream.servers import Served, http, in_turn, serve, session_for


def fetch(*answers: bytes, number: int = 1, page_size: int = 100) -> tuple[PageAnswer, Served]:
    """Fetch a page from a server that gives these answers in turn."""
    with serve(in_turn(*answers)) as server, session_for(server.url) as session:
        return fetch_page(session, number, page_size), server


def test_a_page_is_one_request_by_number_and_size_and_comes_as_received() -> None:
    body = page(record(1), record(2), count=25, following="http://db07.internal/api/x/?page=2&page_size=7")
    answer, server = fetch(http(200, body), page_size=7)
    assert [request.target for request in server.requests] == ["/api/all-files-and-articles/?page=1&page_size=7"]
    assert answer == (1, body, 25, 2, ("1", "2"))


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (None, None),
        ("http://db07.internal/api/all-files-and-articles/?page=2&page_size=1", 2),
        ("https://user:secret@elsewhere.example.com/?page_size=100&page=125", 125),
        ("?page=3", 3),
    ],
)
def test_trap_2_of_the_next_link_only_the_page_number_is_used(link: str | None, expected: int | None) -> None:
    assert next_page_of(link) == expected


@pytest.mark.parametrize("link", ["http://db07.internal/api/", "http://host/?page=abc", "http://host/?page="])
def test_a_next_link_without_a_page_number_is_an_error_not_the_end(link: str) -> None:
    with pytest.raises(BadPageError, match="next link"):
        next_page_of(link)


END = {
    "the API's own words": (http(404, b'{"detail":"Invalid page."}'), PastTheEndError),
    "written with blanks": (http(404, b'{ "detail" : "Invalid page." }'), PastTheEndError),
    "another detail": (http(404, b'{"detail":"Not found."}'), BadPageError),
    "more than the detail": (http(404, b'{"detail":"Invalid page.","code":1}'), BadPageError),
    "a proxy's page": (http(404, b"<html>not found</html>"), NotJsonError),
    "nothing": (http(404, b""), MalformedJsonError),
    "cut short": (http(404, b'{"detail":"Invalid pa'), MalformedJsonError),
    "the words with another status": (http(200, b'{"detail":"Invalid page."}'), BadPageError),
}


@pytest.mark.parametrize(("answer", "error"), END.values(), ids=END.keys())
def test_trap_3_only_the_apis_own_words_are_the_end_of_the_data(answer: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        fetch(answer, number=126)


def test_a_404_of_another_kind_asks_for_the_setting() -> None:
    with pytest.raises(BadPageError, match=r"/api/all-files-and-articles/ does not exist .* is IMAGE_API_URL right"):
        fetch(http(404, b'{"detail":"Not found."}'))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "no page"),
        ({"count": "2489", "next": None, "results": []}, "count"),
        ({"count": True, "next": None, "results": []}, "count"),
        ({"count": -1, "next": None, "results": []}, "count"),
        ({"count": 1, "next": None, "results": None}, "results"),
        ({"count": 1, "next": 7, "results": []}, "next"),
        ({"detail": "Invalid page."}, "count"),
    ],
)
def test_json_that_is_no_page_says_what_is_wrong(document: Any, words: str) -> None:
    with pytest.raises(BadPageError, match=words):
        parse_page(json.dumps(document).encode())


def test_a_body_cut_short_is_an_error() -> None:
    with pytest.raises(BadPageError, match="cut short"):
        parse_page(page(record())[:-20])


def test_html_instead_of_a_page_is_named_as_such() -> None:
    with pytest.raises(NotJsonError, match="HTML came where JSON was expected"):
        fetch(http(200, b"<html>maintenance</html>", {"Content-Type": "text/html"}))


def test_a_body_that_came_cut_and_then_whole_is_a_page() -> None:
    answer, server = fetch(http(200, page(record())[:-9]), http(200, page(record())))
    assert (answer.length, len(server.requests)) == (1, 2)


ODD = {"a lone surrogate": b"\\ud800", "a byte order mark in a text": b"\\ufeff", "a NUL": b"\\u0000"}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_an_odd_text_costs_no_page_and_no_second_request(odd: bytes) -> None:
    answer, server = fetch(http(200, page(record(type="Szene"), record(2)).replace(b"Szene", odd)))
    assert (answer.length, len(server.requests)) == (2, 1)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "9" * 25, "9" * 5000])
def test_an_odd_number_costs_no_page_and_no_second_request(number: str) -> None:
    body = page(record(file_id=4711), record(2)).replace(b"4711", number.encode())
    answer, server = fetch(http(200, body))
    assert (answer.length, len(server.requests)) == (2, 1)
