"""The page contract: envelope, next link, the end of the data and what only looks like it."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from imagesync_pipelines.image_db.api import (
    BadPageError,
    PastTheEndError,
    fetch_page,
    is_past_the_end,
    next_page_of,
    parse_page,
)
from imagesync_pipelines.upstream.errors import NotFound, NotJson
from imagesync_pipelines_tests.image_db.made_up import page, record


@dataclass
class Answer:
    body: bytes


@dataclass
class FakeSession:
    """Gives the answers in turn and remembers what was asked."""

    answers: list[Any]
    asked: list[tuple[str, dict, bool]] = field(default_factory=list)

    def get(self, path: str, params: dict, *, expect_json: bool = False) -> Answer:
        self.asked.append((path, dict(params), expect_json))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer)


def test_a_page_is_asked_for_by_number_and_size_and_comes_as_received() -> None:
    body = page(record(1), record(2), count=25, following="http://db07.internal/api/x/?page=2&page_size=7")
    session = FakeSession([body])
    answer = fetch_page(session, 1, 7)
    assert session.asked == [("all-files-and-articles/", {"page": 1, "page_size": 7}, False)]
    assert (answer.page, answer.body, answer.api_count, answer.next_page, answer.length) == (1, body, 25, 2, 2)


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


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, '{"detail":"Invalid page."}', True),
        (404, '{ "detail" : "Invalid page." }', True),
        (404, '{"detail":"Not found."}', False),
        (404, "<html>not found</html>", False),
        (404, "", False),
        (410, '{"detail":"Invalid page."}', False),
    ],
)
def test_trap_3_only_the_apis_own_words_are_the_end_of_the_data(status: int, body: str, expected: bool) -> None:
    error = NotFound("HTTP", host="images.example.com", status=status, excerpt=body)
    assert is_past_the_end(error) is expected
    with pytest.raises(PastTheEndError if expected else NotFound):
        fetch_page(FakeSession([error]), 126, 100)


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


def test_a_body_that_is_no_json_is_asked_for_again_with_the_sessions_own_check() -> None:
    session = FakeSession([b"<html>maintenance</html>", NotJson("HTML came where JSON was expected")])
    with pytest.raises(NotJson):
        fetch_page(session, 1, 100)
    assert [strict for _, _, strict in session.asked] == [False, True]


def test_a_body_that_came_cut_and_then_whole_is_a_page() -> None:
    assert fetch_page(FakeSession([page(record())[:-9], page(record())]), 1, 100).length == 1


def test_a_lone_surrogate_costs_no_page() -> None:
    body = page(record(type="Szene")).replace(b"Szene", b"\\ud800")
    assert fetch_page(FakeSession([body]), 1, 100).length == 1
