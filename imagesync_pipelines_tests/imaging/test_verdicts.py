"""What bytes prove is found out once: over accounts, runs and threads, until the decoders change."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.imaging import verdicts
from imagesync_pipelines.imaging.validation import BadImageError, Fault, check_image
from imagesync_pipelines.imaging.verdicts import Verdicts, decoder
from imagesync_pipelines.storage import decoded
from imagesync_pipelines.storage.decoded import forget_unused
from imagesync_pipelines.storage.schema import decoded_content
from imagesync_pipelines_tests.connectors.edge.photos import picture

GOOD, DAMAGED, NONE = picture(1), picture(2)[:-40], b"<html>no picture</html>"
BROKEN = picture(3)[:40]
CONTENTS = (GOOD, DAMAGED, NONE, BROKEN)
PROVEN = (GOOD, NONE)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that were decoded."""
    seen: list[bytes] = []

    def noted(body: bytes, **options: Any) -> Any:
        seen.append(body)
        return check_image(body, **options)

    monkeypatch.setattr(verdicts, "check_image", noted)
    return seen


def md5_of(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def said_of(run: Verdicts, body: bytes, content_type: str = "image/jpeg") -> str:
    """The damage, or why it was refused."""
    try:
        return run.check(memoryview(body), md5_of(body), content_type)
    except BadImageError as error:
        return f"{error.fault}: {error}"


def one_run(database: sa.Engine) -> list[str]:
    run = Verdicts(database)
    run.look_up({md5_of(body) for body in CONTENTS})
    said = [said_of(run, body) for body in CONTENTS for _ in range(3)]
    run.save()
    return said


def test_contents_are_decoded_once_over_runs_and_keep_what_their_bytes_prove(
    database: sa.Engine, decodes: list[bytes]
) -> None:
    first = one_run(database)
    # What a decoder stumbled over, and damage, may have been this host: it is looked at again.
    assert decodes == [GOOD, *[DAMAGED] * 3, NONE, *[BROKEN] * 3]
    assert one_run(database) == first
    assert [body for body in decodes[8:] if body in PROVEN] == []
    assert (first[0], "HTML" in first[6], "cannot be decoded" in first[9]) == ("", True, True)
    assert "Premature end" in first[3]


def test_another_decoder_decodes_again(
    database: sa.Engine, decodes: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    one_run(database)
    monkeypatch.setattr(verdicts, "decoder", lambda: "another")
    one_run(database)
    assert [decodes.count(body) for body in PROVEN] == [2, 2]


def test_the_decoder_names_our_check_and_every_library_with_its_version() -> None:
    assert decoder().startswith(f"{verdicts.CHECK} libvips=")
    assert all(f" {name}=" in decoder() for name in ("pyvips", "simplejpeg", "pillow", "pillow-heif"))


def test_many_threads_with_one_content_decode_it_once(database: sa.Engine, decodes: list[bytes]) -> None:
    run = Verdicts(database)
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda nth: said_of(run, PROVEN[nth % 2]), range(40)))
    assert sorted(decodes) == sorted(PROVEN)
    assert said[:2] * 20 == said


def test_the_same_md5_alone_is_no_proof(database: sa.Engine, decodes: list[bytes]) -> None:
    first, other = Verdicts(database), Verdicts(database)
    assert first.check(GOOD, "0" * 32, "") == ""
    first.save()
    other.look_up({"0" * 32})
    with pytest.raises(BadImageError, match="HTML"):
        other.check(NONE, "0" * 32, "")
    assert decodes == [GOOD, NONE]


def test_a_label_is_judged_for_each_photo(database: sa.Engine, decodes: list[bytes]) -> None:
    run = Verdicts(database)
    assert said_of(run, GOOD, "image/png").startswith(Fault.MISLABELLED)
    assert said_of(run, GOOD) == ""
    assert decodes == [GOOD]


def broken_by_the_system(body: bytes, **_: Any) -> None:
    """What libvips says of a good WEBP for which it gets no thread."""
    raise BadImageError(Fault.BROKEN, "cannot be decoded: unable to read pixels")


def over_the_limits(body: bytes, **_: Any) -> None:
    raise BadImageError(Fault.LIMITS, "decoding took longer than 180 s")


@pytest.mark.parametrize("refuse", [over_the_limits, broken_by_the_system])
def test_what_another_time_may_be_decoded_is_tried_again(
    database: sa.Engine, monkeypatch: pytest.MonkeyPatch, refuse: Callable[..., None]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "check_image", refuse)
        run = Verdicts(database)
        assert said_of(run, GOOD)
        run.save()
    later = Verdicts(database)
    later.look_up({md5_of(GOOD)})
    assert said_of(run, GOOD) == said_of(later, GOOD) == ""


def test_an_error_that_nobody_named_is_nobodys_verdict(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Verdicts(database)
    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "check_image", lambda body, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.check(GOOD, md5_of(GOOD), "")
    assert said_of(run, GOOD) == ""


def test_what_nobody_met_for_long_is_forgotten_and_what_is_met_stays(database: sa.Engine) -> None:
    one_run(database)
    age(database, decoded.NOTED_EVERY)
    run = Verdicts(database)
    run.look_up({md5_of(body) for body in CONTENTS})
    said_of(run, GOOD)
    run.save()
    age(database, decoded.KEPT - timedelta(days=1))
    assert forget_unused(database) == len(PROVEN) - 1
    with database.connect() as connection:
        assert list(connection.scalars(sa.select(decoded_content.c.md5))) == [md5_of(GOOD)]


def test_two_threads_with_a_content_that_was_pushed_out_of_memory_do_not_wait_for_each_other(
    database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_run(database)
    age(database, decoded.NOTED_EVERY)
    run = Verdicts(database)
    monkeypatch.setattr(verdicts, "IN_MEMORY", 0)
    run.look_up({md5_of(GOOD)})
    monkeypatch.undo()
    both_here, seen = Barrier(2, timeout=20), list[bytes]()

    def slow(body: bytes, **options: Any) -> Any:
        seen.append(body)
        both_here.wait()
        return check_image(body, **options)

    monkeypatch.setattr(verdicts, "check_image", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(said_of, run, GOOD)
        while not seen:
            pass
        second = pool.submit(said_of, run, GOOD)
        both_here.wait()
        assert (first.result(20), second.result(20)) == ("", "")


def test_a_run_that_finds_nothing_new_writes_nothing(database: sa.Engine) -> None:
    one_run(database)
    statements: list[str] = []
    sa.event.listen(database, "before_cursor_execute", lambda *given: statements.append(given[2]))
    one_run(database)
    assert [statement.split()[0] for statement in statements] == ["SELECT"]


def age(database: sa.Engine, by: timedelta) -> None:
    with database.begin() as connection:
        connection.execute(decoded_content.update().values(used_at=decoded_content.c.used_at - by - timedelta(hours=1)))
