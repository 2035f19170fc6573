"""Proves over HTTP that the stand-in answers as contract sections 1 and 2 have it, body for body."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.image_db.app import ImageDbSwitches
from imagesync_pipelines.sandbox.image_db.server import Sandbox, image_db_sandbox

PATH = "all-files-and-articles/"
NO_CREDENTIALS = b'{"detail":"Authentication credentials were not provided."}'
INVALID_PAGE = b'{"detail":"Invalid page."}'


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with image_db_sandbox(records=60) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    """60 records on 3 pages; the test before may have turned switches."""
    shared.faults.clear()
    shared.ledger.clear()
    fresh = ImageDbSwitches(shared.username, shared.password, shared.media_url)
    for name, value in vars(fresh).items():
        setattr(shared.switches, name, value)
    return shared


def get(sandbox: Sandbox, query: str = "", **options: object) -> requests.Response:
    settings = {"auth": (sandbox.username, sandbox.password), "timeout": 5, "allow_redirects": False, **options}
    return requests.get(sandbox.url + PATH + query, **settings)  # type: ignore[arg-type]


def ids(answer: requests.Response) -> list[int]:
    return [record["original_file"]["file_id"] for record in answer.json()["results"]]


def walk(sandbox: Sandbox, query: str = "") -> list[requests.Response]:
    answers = [get(sandbox, query)]
    while answers[-1].json()["next"]:
        answers.append(get(sandbox, "?" + urlsplit(answers[-1].json()["next"]).query))
    return answers


def test_the_real_size_is_125_pages_with_9_on_the_last() -> None:
    with image_db_sandbox() as sandbox:
        answers = walk(sandbox)
        assert [len(answer.json()["results"]) for answer in answers] == [20] * 124 + [9]
        assert {answer.json()["count"] for answer in answers} == {2489}
        assert len({file_id for answer in answers for file_id in ids(answer)}) == 2489
        pages = sandbox.ledger.calls("all-files-and-articles")
        assert [call.part for call in pages] == [str(page) for page in range(1, 126)]


def test_the_envelope_has_four_keys_in_drfs_order(sandbox: Sandbox) -> None:
    answer = get(sandbox)
    assert list(answer.json()) == ["count", "next", "previous", "results"]
    assert answer.content.startswith(b'{"count":60,"next":"http://localhost:')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("page_size", ["1", "10", "100", "500", "0", "abc", ""])
def test_page_size_is_ignored_and_echoed(sandbox: Sandbox, page_size: str) -> None:
    body = get(sandbox, f"?page=2&page_size={page_size}").json()
    assert len(body["results"]) == 20
    assert body["next"].endswith(f"?page=3&page_size={page_size}")
    assert body["previous"].endswith(f"/?page_size={page_size}")


@pytest.mark.parametrize(
    ("page_size", "pages", "on_the_last"),
    [("7", 9, 4), ("60", 1, 60), ("59", 2, 1), ("100", 1, 60), ("0", 3, 20), ("abc", 3, 20)],
)
def test_page_size_is_honoured_with_the_switch(sandbox: Sandbox, page_size: str, pages: int, on_the_last: int) -> None:
    sandbox.switches.honour_page_size = True
    answers = walk(sandbox, f"?page_size={page_size}")
    assert (len(answers), len(answers[-1].json()["results"])) == (pages, on_the_last)
    assert {file_id for answer in answers for file_id in ids(answer)} == set(sandbox.catalogue.file_ids())


def test_the_first_page_has_no_previous_and_the_last_no_next(sandbox: Sandbox) -> None:
    assert get(sandbox).json()["previous"] is None
    assert get(sandbox, "?page=3").json()["next"] is None
    assert get(sandbox, "?page=last").content != get(sandbox, "?page=2").content
    assert ids(get(sandbox, "?page=last")) == ids(get(sandbox, "?page=3"))


def test_the_previous_of_page_2_has_no_page_parameter(sandbox: Sandbox) -> None:
    assert get(sandbox, "?page=2").json()["previous"] == sandbox.url + PATH
    assert get(sandbox, "?page=3").json()["previous"] == sandbox.url + PATH + "?page=2"


def test_everything_asked_is_echoed_sorted_by_name(sandbox: Sandbox) -> None:
    link = get(sandbox, "?since=2024-01-01&ordering=-id&empty=&ordering=x").json()["next"]
    assert urlsplit(link).query == "empty=&ordering=-id&ordering=x&page=2&since=2024-01-01"


def test_filters_and_orderings_change_nothing(sandbox: Sandbox) -> None:
    plain = ids(get(sandbox))
    assert ids(get(sandbox, "?search=803721&ordering=file_id&since=2025-01-01&number=803721")) == plain


@pytest.mark.parametrize("page", ["4", "0", "-1", "abc", "1.5", "99999999999999999999", "Last"])
def test_a_page_that_is_not_there_is_drfs_404(sandbox: Sandbox, page: str) -> None:
    answer = get(sandbox, f"?page={page}")
    assert (answer.status_code, answer.content) == (404, INVALID_PAGE)


@pytest.mark.parametrize(
    ("page", "same_as"), [("", "1"), ("%202%20", "2"), ("02", "2"), ("+3", "3"), ("1&page=2", "2")]
)
def test_a_page_is_read_as_django_reads_numbers(sandbox: Sandbox, page: str, same_as: str) -> None:
    assert ids(get(sandbox, f"?page={page}")) == ids(get(sandbox, f"?page={same_as}"))


def test_an_empty_table_is_one_empty_page() -> None:
    with image_db_sandbox(records=0) as sandbox:
        assert get(sandbox).content == b'{"count":0,"next":null,"previous":null,"results":[]}'
        assert get(sandbox, "?page=last").status_code == 200
        assert get(sandbox, "?page=2").content == INVALID_PAGE


def test_without_credentials_it_is_401_with_the_challenge(sandbox: Sandbox) -> None:
    answer = get(sandbox, auth=None)
    assert (answer.status_code, answer.content) == (401, NO_CREDENTIALS)
    assert answer.headers["www-authenticate"] == 'Basic realm="api"'


@pytest.mark.parametrize("credentials", [("imagesync", "wrong"), ("nobody", "sandbox-only"), ("", "")])
def test_wrong_credentials_are_401_with_their_own_body(sandbox: Sandbox, credentials: tuple[str, str]) -> None:
    answer = get(sandbox, auth=credentials)
    assert (answer.status_code, answer.content) == (401, b'{"detail":"Invalid username/password."}')
    assert answer.headers["www-authenticate"] == 'Basic realm="api"'


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("Bearer abc", NO_CREDENTIALS),
        ("Basic", b'{"detail":"Invalid basic header. No credentials provided."}'),
        ("Basic a b", b'{"detail":"Invalid basic header. Credentials string should not contain spaces."}'),
        ("Basic abc", b'{"detail":"Invalid basic header. Credentials not correctly base64 encoded."}'),
    ],
)
def test_a_malformed_header_is_401_in_drfs_words(sandbox: Sandbox, header: str, body: bytes) -> None:
    answer = get(sandbox, auth=None, headers={"Authorization": header})
    assert (answer.status_code, answer.content) == (401, body)


@pytest.mark.parametrize(
    ("credentials", "body"), [(None, NO_CREDENTIALS), (("imagesync", "x"), b'{"detail":"Invalid username/password."}')]
)
def test_with_session_authentication_first_it_is_403_without_challenge(
    sandbox: Sandbox, credentials: tuple[str, str] | None, body: bytes
) -> None:
    sandbox.switches.session_authentication_first = True
    answer = get(sandbox, auth=credentials)
    assert (answer.status_code, answer.content) == (403, body)
    assert "www-authenticate" not in answer.headers
    assert get(sandbox).status_code == 200


def test_credentials_are_asked_for_before_the_page_and_the_method(sandbox: Sandbox) -> None:
    assert get(sandbox, "?page=999", auth=None).status_code == 401
    assert requests.post(sandbox.url + PATH, timeout=5).status_code == 401


def test_other_methods_are_not_allowed(sandbox: Sandbox) -> None:
    answer = requests.post(sandbox.url + PATH, auth=(sandbox.username, sandbox.password), timeout=5)
    assert (answer.status_code, answer.content) == (405, b'{"detail":"Method \\"POST\\" not allowed."}')


def test_head_is_a_get_without_body(sandbox: Sandbox) -> None:
    answer = requests.head(sandbox.url + PATH, auth=(sandbox.username, sandbox.password), timeout=5)
    assert (answer.status_code, answer.content) == (200, b"")


def test_without_the_last_slash_it_redirects_as_django_does(sandbox: Sandbox) -> None:
    answer = requests.get(sandbox.url + PATH.rstrip("/") + "?page=2", timeout=5, allow_redirects=False)
    assert answer.status_code == 301
    assert answer.headers["location"] == "/api/all-files-and-articles/?page=2"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == b""


@pytest.mark.parametrize("path", ["", "unknown/", "all-files-and-articles/5/"])
def test_other_paths_are_djangos_404_page(sandbox: Sandbox, path: str) -> None:
    answer = requests.get(sandbox.url + path, auth=(sandbox.username, sandbox.password), timeout=5)
    assert answer.status_code == 404
    assert answer.text.startswith("\n<!doctype html>")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_links_between_pages_and_media_urls_are_on_different_hosts(sandbox: Sandbox) -> None:
    body = get(sandbox).json()
    media = {urlsplit(record["original_file"]["file_url"]).hostname for record in body["results"]}
    assert urlsplit(body["next"]).hostname not in media
    assert media == {"127.0.0.1"}


def test_links_between_pages_can_point_to_another_host_and_scheme(sandbox: Sandbox) -> None:
    sandbox.switches.link_origin = "https://internal.example"
    assert get(sandbox, "?page_size=5").json()["next"] == f"https://internal.example/api/{PATH}?page=2&page_size=5"


def test_links_between_pages_use_the_host_that_was_asked(sandbox: Sandbox) -> None:
    link = get(sandbox, headers={"Host": "db.example:8000"}).json()["next"]
    assert link == f"http://db.example:8000/api/{PATH}?page=2"


def test_stock_is_another_on_the_next_call_and_nothing_else_is(sandbox: Sandbox) -> None:
    def without_stock(answer: requests.Response) -> object:
        results = answer.json()["results"]
        for record in results:
            for link in record["articles"]:
                del link["stock"]
        return results

    answers = [get(sandbox) for _ in range(5)]
    assert len({answer.content for answer in answers}) > 1
    assert all(without_stock(answer) == without_stock(answers[0]) for answer in answers)
    sandbox.switches.stock_drift = False
    assert get(sandbox).content == get(sandbox).content


def test_the_same_seed_gives_the_same_answers_call_for_call() -> None:
    def bodies() -> list[object]:
        with image_db_sandbox(seed=5, records=60, unstable_order=True) as sandbox:
            results = [get(sandbox, f"?page={page}").json()["results"] for page in (1, 2, 3, 1)]
            return [str(results).replace(sandbox.media_url, "")]

    assert bodies() == bodies()


def test_with_unstable_order_rows_move_repeat_and_go_missing() -> None:
    with image_db_sandbox(records=400, unstable_order=True) as sandbox:
        seen = [file_id for answer in walk(sandbox) for file_id in ids(answer)]
        assert len(seen) == 400
        assert len(set(seen)) < 400
        assert ids(get(sandbox, "?page=1")) != ids(get(sandbox, "?page=1")) or ids(get(sandbox)) != ids(get(sandbox))


def test_without_the_switch_the_order_stays() -> None:
    with image_db_sandbox(records=60) as sandbox:
        assert ids(get(sandbox, "?page=2")) == ids(get(sandbox, "?page=2"))


@pytest.mark.parametrize(
    ("change", "check"),
    [
        pytest.param(("insert", {}), lambda seen, distinct: seen == 61 and distinct == 60, id="insert repeats a row"),
        pytest.param(("delete", {}), lambda seen, distinct: seen == 59 and distinct == 59, id="delete loses a row"),
        pytest.param(("reorder", {}), lambda seen, distinct: seen == 60 and distinct < 60, id="reorder does both"),
    ],
)
def test_a_change_during_a_walk_shifts_the_pages(
    change: tuple[str, dict[str, object]], check: Callable[[int, int], bool]
) -> None:
    with image_db_sandbox(records=60) as sandbox:
        before = set(sandbox.catalogue.file_ids())
        sandbox.after_pages(1, change[0], **change[1])
        answers = walk(sandbox)
        seen = [file_id for answer in answers for file_id in ids(answer)]
        assert check(len(seen), len(set(seen)))
        assert answers[0].json()["count"] == 60
        assert answers[-1].json()["count"] == len(sandbox.catalogue)
        if change[0] == "delete":
            assert len(before - set(seen)) == 1


def test_latency_is_per_page_and_calls_overlap(sandbox: Sandbox) -> None:
    sandbox.switches.latency = 0.2
    started = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda page: get(sandbox, f"?page={page}"), (1, 2, 3, 1)))
    assert time.perf_counter() - started >= 0.2
    assert [answer.status_code for answer in answers] == [200] * 4
    assert sandbox.ledger.peak("all-files-and-articles") == 4


def test_one_page_can_fail_for_good_while_the_others_answer(sandbox: Sandbox) -> None:
    sandbox.faults.add(faults.server_error(500).at("all-files-and-articles", "2").for_good())
    assert [get(sandbox, f"?page={page}").status_code for page in (1, 2, 3, 2)] == [200, 500, 200, 500]
    assert sandbox.ledger.as_json() == {"all-files-and-articles": {"200": 2, "500": 2}}


def test_queries_in_links_are_readable_again(sandbox: Sandbox) -> None:
    link = get(sandbox, "?note=a%26b%20%C3%BC").json()["next"]
    assert dict(parse_qsl(urlsplit(link).query)) == {"note": "a&b ü", "page": "2"}
