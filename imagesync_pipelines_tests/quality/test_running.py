"""A whole run of quality: what channels show is noted, measured and judged, and what is old is forgotten."""

import io
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image
from upath import UPath

from imagesync_pipelines.imaging import words
from imagesync_pipelines.imaging.errors import BadImageError, Fault
from imagesync_pipelines.quality import scores
from imagesync_pipelines.quality.measuring import Looked
from imagesync_pipelines.quality.noting import Noted, note_pictures
from imagesync_pipelines.quality.running import LOCK, forget_old, run_quality
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.quality.storing import put_measures
from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.errors import AccountBusyError
from imagesync_pipelines.storage.facts import Measures
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines.sync.channel_picture import ChannelPicture
from imagesync_pipelines.sync.connector import picture_at

NOW = datetime(2026, 11, 30, 6, tzinfo=UTC)


def picture(side: int) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (side, side), "white").save(made, "PNG")
    return made.getvalue()


def shown(code: str, key: str, is_main: bool = True, product_id: int | None = None) -> ChannelPicture:
    return ChannelPicture(code, key, is_main, product_id, "", "product", picture_at("edge", "hill", key, 1), f"v{key}")


def connector(pictures: list[ChannelPicture], bodies: dict[str, bytes]) -> Any:
    """A connector that shows these pictures in its one account."""
    return SimpleNamespace(
        name="edge",
        title="Edge stores",
        channels=lambda shared: ("hill",),
        channel_pictures=lambda engine, shared, account: iter(pictures),
        read_picture=lambda engine, shared, account, key: bodies.get(key),
    )


def without_accounts(shared: Settings) -> tuple[str, ...]:
    raise SettingsError("IMAGESYNC_ACCOUNTS: gone")


def test_a_run_notes_measures_and_judges_and_the_next_one_has_nothing_to_do(database: sa.Engine, tmp_path: Any) -> None:
    place: Any = SimpleNamespace(engine=database, storage=UPath(tmp_path), settings=Settings())
    pictures = [shown("A", "1", product_id=1), shown("A", "2", is_main=False, product_id=1), shown("B", "3")]
    pictures += [shown("C", "4", is_main=False, product_id=2)]
    stores = connector(pictures, {"1": picture(9), "2": picture(40), "4": picture(50)})
    unknown = SimpleNamespace(name="plytix", title="Plytix", channels=without_accounts)
    settings = QualitySettings()
    first = run_quality(place, settings, [stores, unknown], NOW)
    assert first.noted == Noted(4, new=4)
    # The main picture of A is much too small, so its other one is measured; nobody refuses a picture of C.
    assert (first.mains.measured, first.mains.problems, first.others.measured) == (1, 1, 1)
    assert first.judged.judged == 1
    assert [line.partition(":")[0] for line in first.problems] == ["Plytix", "Main pictures"]
    assert "1 could not be measured" in first.problems[1]
    assert "hill has no picture 3" in first.problems[1]
    assert first.said == (
        "4 pictures are shown (4 new, 0 changed, 0 gone). "
        "Main pictures: 1 measured, 1 could not be measured, 1 judged; others: 1 measured. "
        "2 compared with all others, 0 suggestions."
    )
    second = run_quality(place, settings, [stores], NOW)
    assert (second.noted, second.mains, second.others) == (Noted(4), Looked(), Looked())
    assert second.judged.judged == 0
    assert second.problems == ()
    more = connector([*pictures, shown("D", "5"), shown("E", "6")], {"5": picture(60)})
    limited = run_quality(place, QualitySettings(pictures_per_run=1), [more], NOW)
    assert limited.problems == ("Main pictures: 1 wait for the next run (QUALITY_PICTURES_PER_RUN).",)
    with account_lock(database, LOCK, 0), pytest.raises(AccountBusyError):
        run_quality(place, settings, [stores], NOW)


def test_a_run_that_reads_words_goes_on_after_a_picture_on_which_the_reader_died(
    database: sa.Engine, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: dict[bytes, tuple[str, ...]] = {picture(9): (), picture(50): ("SALE",)}

    def read(body: bytes) -> tuple[str, ...]:
        if body not in texts:
            raise BadImageError(Fault.LIMITS, "its text could not be read within the limits")
        return texts[body]

    monkeypatch.setattr(words, "word_reader", lambda: nullcontext(read))
    place: Any = SimpleNamespace(engine=database, storage=UPath(tmp_path), settings=Settings())
    stores = connector(
        [shown("A", "1"), shown("B", "2"), shown("C", "3")], {"1": picture(9), "2": picture(40), "3": picture(50)}
    )
    run = run_quality(place, QualitySettings(words=True), [stores], NOW)
    assert (run.mains.measured, run.mains.unread) == (3, 1)
    assert run.problems == (
        "Main pictures: the text of 1 could not be read, and is tried again after QUALITY_RETRY_HOURS; "
        "the first: its text could not be read within the limits.",
    )
    with database.connect() as connection:
        known = connection.execute(sa.text("SELECT width, words FROM imagesync.picture_measure ORDER BY width")).all()
    assert [tuple(one) for one in known] == [(9, []), (40, None), (50, ["SALE"])]
    again = run_quality(place, QualitySettings(words=True), [stores], NOW)
    assert (again.mains, again.problems) == (Looked(), ())


def test_what_is_to_be_judged_is_never_in_memory_at_once(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    note_pictures(database, "edge", "hill", [shown(str(number), "1") for number in range(5)])
    with database.begin() as connection:
        put_measures(connection, [Measures("a", "JPEG", 1, 1, 1.0, 1.0, (), 1.0, 0.0, 1)], "1", "")
        connection.execute(sa.text("UPDATE imagesync.channel_picture SET sha256 = 'a'"))
    monkeypatch.setattr(scores, "_AT_ONCE", 2)
    about = {"rule_set": "own", "version": "1", "connectors": ["edge"], "accounts": ["hill"]}
    assert [len(rows) for rows in scores._due(database, about)] == [2, 2, 1]


def test_old_days_go_but_for_the_newest_and_measures_of_what_is_shown_no_more(database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.execute(
            sa.text(
                """
                INSERT INTO imagesync.quality_day
                       (day, rule_set, connector, account, kind, pictures, failing, score_sum)
                VALUES ('2020-01-01', 'own', 'edge', '', '', 1, 0, 9), ('2020-01-02', 'own', 'edge', '', '', 1, 0, 9);
                INSERT INTO imagesync.picture_measure (sha256, measured_by, width, height, format, white_background,
                                                       fill, touched_sides, sharpness, transparent, hash, measured_at)
                SELECT sha, '1', 1, 1, 'JPEG', 1, 1, '', 1, 0, 1, moment
                  FROM (VALUES ('a', now()), ('b', now() - interval '40 days'), ('c', now() - interval '40 days'))
                       AS known (sha, moment);
                INSERT INTO imagesync.channel_picture (connector, account, code, key, is_main, name, kind, picture,
                                                       version, sha256, seen_at)
                VALUES ('edge', 'hill', 'A', '1', true, '', '', '', '', 'b', now());
                INSERT INTO imagesync.picture_alike (sha256, other_sha256, distance)
                VALUES ('a', 'b', 1), ('a', 'c', 1);
                """
            )
        )
    assert forget_old(database, datetime.now(UTC), timedelta(days=100)) == 3
    with database.connect() as connection:
        known = {
            name: connection.execute(sa.text(f"SELECT {column} FROM imagesync.{name} ORDER BY 1")).scalars().all()
            for name, column in (
                ("quality_day", "day::text"),
                ("picture_measure", "sha256"),
                ("picture_alike", "other_sha256"),
            )
        }
    assert known == {"quality_day": ["2020-01-02"], "picture_measure": ["a", "b"], "picture_alike": ["b"]}
    # What was shown until now is kept for a while, though it was measured long ago.
    with database.begin() as connection:
        connection.execute(sa.text("DELETE FROM imagesync.channel_picture"))
    assert forget_old(database, datetime.now(UTC), timedelta(days=100)) == 0
