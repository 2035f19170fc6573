"""The queue gives every request to one run at a time, three times at most, urgent ones first; nothing is lost."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.connectors.moysklad import queue as code
from imagesync_pipelines.connectors.moysklad.queue import NewRequest, Queue, Request, State, UnreadableRequest

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def queue(database: sa.Engine) -> Queue:
    return Queue(database)


def wish(number: int, child: str = "north", **more: object) -> NewRequest:
    values = {"entity_type": "product", "entity_id": f"id-{number}", "payload": f'{{"number":{number}}}', **more}
    return NewRequest(child, **values)  # type: ignore[arg-type]


def ids(requests: Sequence[Request]) -> list[int]:
    return [request.id for request in requests]


def states(queue: Queue, child: str = "north") -> dict[State, int]:
    return dict(queue.view().counts.get(child, {}))


def test_a_request_is_taken_once_and_done(queue: Queue) -> None:
    assert queue.add([wish(1)], START) == 1
    (request,) = queue.take("north", "run-1", START)
    assert (request.entity, request.attempts, request.priority) == ("product:id-1", 1, 50)
    assert queue.take("north", "run-2", START) == ()
    assert queue.held("run-1") == (request,)
    queue.finish("run-1", [request.id], START)
    assert queue.held("run-1") == ()
    assert states(queue) == {State.DONE: 1}
    assert queue.due(START + timedelta(days=1)) == {}


def test_the_highest_priority_is_taken_first_and_the_oldest_of_equals(queue: Queue) -> None:
    for number, priority in enumerate((50, 10, 90, 50)):
        queue.add([wish(number, priority=priority)], START + number * MINUTE)
    taken = queue.take("north", "run-1", START + timedelta(hours=1))
    assert [request.entity_id for request in taken] == ["id-2", "id-0", "id-3", "id-1"]
    assert queue.held("run-1") == taken


def test_a_run_takes_the_most_urgent_of_many(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "TAKEN_AT_ONCE", 2)
    queue.add([wish(number, priority=number) for number in range(5)], START)
    assert [request.priority for request in queue.take("north", "run-1", START)] == [4, 3]
    assert [request.priority for request in queue.take("north", "run-2", START)] == [2, 1]


def test_every_attempt_waits_longer_and_the_third_is_the_last(queue: Queue) -> None:
    queue.add([wish(1)], START)
    now = START
    for attempt, pause in ((1, MINUTE), (2, 5 * MINUTE)):
        (request,) = queue.take("north", f"run-{attempt}", now)
        assert request.attempts == attempt
        queue.fail(f"run-{attempt}", [request.id], f"no luck {attempt}", now)
        assert queue.take("north", "early", now + pause - timedelta(seconds=1)) == ()
        now += pause
    (request,) = queue.take("north", "run-3", now)
    queue.fail("run-3", [request.id], "no luck 3", now)
    assert states(queue) == {State.FAILED: 1}
    assert queue.due(now + timedelta(days=9)) == {}
    (error,) = queue.view().errors
    assert (error.entity, error.attempts, error.error) == ("product:id-1", 3, "no luck 3")


def test_an_attempt_that_succeeds_takes_its_error_away(queue: Queue) -> None:
    queue.add([wish(1)], START)
    queue.fail("run-1", ids(queue.take("north", "run-1", START)), "no luck", START)
    assert [error.state for error in queue.view().errors] == [State.PENDING]
    queue.finish("run-2", ids(queue.take("north", "run-2", START + MINUTE)), START + MINUTE)
    assert queue.view().errors == ()


def test_a_run_that_died_gives_its_requests_back_and_is_not_heard_any_more(queue: Queue) -> None:
    queue.add([wish(1), wish(2)], START)
    first, second = queue.take("north", "dead", START)
    queue.finish("dead", [first.id], START)
    assert queue.runs() == ("dead",)
    assert queue.release("dead", START) == 1
    assert queue.runs() == ()
    assert "dead ended before" in queue.view().errors[0].error
    assert ids(queue.take("north", "heir", START + MINUTE)) == [second.id]
    queue.finish("dead", [second.id], START + MINUTE)
    queue.fail("dead", [second.id], "late", START + MINUTE)
    assert states(queue) == {State.DONE: 1, State.RUNNING: 1}


def test_a_request_that_kills_its_runs_is_given_up_after_three(queue: Queue) -> None:
    queue.add([wish(1)], START)
    for number in range(3):
        now = START + number * timedelta(hours=1)
        assert len(queue.take("north", f"run-{number}", now)) == 1
        queue.release(f"run-{number}", now)
    assert states(queue) == {State.FAILED: 1}


def test_the_same_words_are_one_request_for_good_and_no_words_never(queue: Queue) -> None:
    assert queue.add([wish(1, once="call-1"), wish(1, once="call-1"), wish(2), wish(2)], START) == 3
    queue.finish("run-1", ids(queue.take("north", "run-1", START)), START)
    assert queue.add([wish(1, once="call-1"), wish(1, once="call-2")], START) == 1
    assert queue.add([], START) == 0


def test_what_is_due_is_told_per_child_the_most_urgent_first_with_a_mark_of_its_own(queue: Queue) -> None:
    queue.add([wish(1), wish(2, "south", priority=80), UnreadableRequest("{}", "parent_entity_id is missing")], START)
    before = queue.due(START)
    assert list(before) == ["south", "north"]
    assert before["north"].requests == 1
    assert queue.due(START - MINUTE) == {}
    assert queue.due(START + MINUTE) == before, "nothing new, the same mark"
    queue.add([wish(3)], START)
    marks = {before["north"].mark, queue.due(START)["north"].mark}
    queue.fail("run-1", ids(queue.take("north", "run-1", START)), "no luck", START)
    marks.add(queue.due(START + MINUTE)["north"].mark)
    assert len(marks) == 3, "a further request and a further attempt are news"


def test_what_was_set_aside_is_shown_and_never_taken(queue: Queue) -> None:
    queue.add([UnreadableRequest('{"a":"\\u0000"}', "parent_entity_id is missing")], START)
    assert queue.due(START) == {}
    assert queue.take("", "run-1", START) == ()
    view = queue.view()
    assert (view.total(State.SET_ASIDE), view.total(State.PENDING)) == (1, 0)
    assert [(error.child, error.entity, error.error) for error in view.errors] == [
        ("", "", "parent_entity_id is missing")
    ]


def test_what_of_a_request_was_skipped_is_shown_until_it_is_done(queue: Queue) -> None:
    queue.add([wish(1, note="images.1 is skipped: filename is missing"), wish(2)], START)
    taken = queue.take("north", "run-1", START)
    assert len(taken) == 2
    assert [(error.entity, error.error) for error in queue.view().errors] == [
        ("product:id-1", "images.1 is skipped: filename is missing")
    ]
    queue.finish("run-1", ids(taken), START)
    assert queue.view().errors == ()


def test_notes_of_new_requests_hide_no_error_however_many_they_are(queue: Queue) -> None:
    queue.add([UnreadableRequest("{}", "parent_entity_id is missing"), wish(1)], START)
    queue.fail("run-1", ids(queue.take("north", "run-1", START)), "no luck", START)
    queue.add(
        [wish(2 + number, note="images.1 is skipped: filename is missing") for number in range(20)], START + MINUTE
    )
    assert {error.error for error in queue.view().errors[:2]} == {"parent_entity_id is missing", "no luck"}


def test_only_old_requests_that_were_done_are_forgotten(queue: Queue) -> None:
    queue.add([wish(1), wish(2), wish(3, "south"), UnreadableRequest("{}", "?")], START)
    first, second = queue.take("north", "run-1", START)
    queue.finish("run-1", [first.id], START)
    queue.finish("run-1", [second.id], START + MINUTE)
    assert states(queue) == {State.DONE: 2}
    assert queue.forget_done(START + MINUTE) == 1
    assert states(queue) == {State.DONE: 1}
    assert (states(queue, "south"), states(queue, "")) == ({State.PENDING: 1}, {State.SET_ASIDE: 1})


@pytest.mark.parametrize(
    ("error", "kept"),
    [("a\x00b", "a\ufffdb"), ("", "It failed without a word."), ("x" * 900, "x" * 500)],
    ids=["what the database cannot keep", "no words", "too many words"],
)
def test_an_error_of_any_kind_can_be_noted(queue: Queue, error: str, kept: str) -> None:
    queue.add([wish(1)], START)
    queue.fail("run-1", ids(queue.take("north", "run-1", START)), error, START)
    assert queue.view().errors[0].error == kept


def test_runs_that_take_at_once_share_the_requests(queue: Queue) -> None:
    queue.add([wish(number) for number in range(200)], START)
    taken: list[int] = []
    together = Barrier(4)

    def take(run_id: str) -> None:
        together.wait()
        taken.extend(ids(queue.take("north", run_id, START)))

    threads = [Thread(target=take, args=(f"run-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken))
    taken += ids(queue.take("north", "the rest", START))
    assert len(set(taken)) == 200


STEPS = st.lists(st.sampled_from(["add", "take", "finish", "fail", "die", "wait"]), min_size=3, max_size=25)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_happens_a_request_is_done_or_failed_three_times(queue: Queue, steps: list[str]) -> None:
    child, now, added, run = f"child-{uuid4()}", START, 0, 0
    held: dict[int, str] = {}
    failed: Counter[int] = Counter()
    done: set[int] = set()
    for step in steps:
        if step == "add":
            added += queue.add([wish(added, child)], now)
        elif step == "take":
            run += 1
            for request in queue.take(child, f"{child}-{run}", now):
                assert request.id not in held
                assert request.attempts == failed[request.id] + 1 <= 3
                held[request.id] = f"{child}-{run}"
        elif step == "wait":
            now += 5 * MINUTE
        elif step == "die":
            for name in set(held.values()):
                assert queue.release(name, now) == sum(holder == name for holder in held.values())
            failed.update(held.keys())
            held.clear()
        elif held:
            number, holder = held.popitem()
            if step == "fail":
                queue.fail(holder, [number], "no luck", now)
                failed[number] += 1
            else:
                queue.finish(holder, [number], now)
                done.add(number)
    given_up = sum(times == 3 for times in failed.values())
    counts = states(queue, child)
    assert sum(counts.values()) == added
    assert counts.get(State.FAILED, 0) == given_up
    assert counts.get(State.DONE, 0) == len(done)
    assert counts.get(State.RUNNING, 0) == len(held)
