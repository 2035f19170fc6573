"""A table that was just filled is read by the right index, also before PostgreSQL came by to look at it."""

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage import mirror as code
from imagesync_pipelines.storage.mirror import MirrorRow
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.storage.statistics import MANY, analyze_if_many

WHO = ("edge", "bali")
_READ = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'imagesync.mirror'::regclass"


def _fill(connection: sa.Connection, keys: list[str]) -> None:
    """Merge these rows into a mirror of which PostgreSQL knows nothing, as in a new database; nothing is committed."""
    connection.execute(sa.text("DELETE FROM pg_statistic WHERE starelid = 'imagesync.mirror'::regclass"))
    connection.commit()
    code.stage_nothing(connection)
    code.stage(connection, [MirrorRow(key, key, "f", "{}", None) for key in keys])
    code.settle_staging(connection)
    code.merge(connection, *WHO, 1)


@pytest.mark.parametrize("number", [MANY, 2 * MANY])
def test_payloads_of_a_mirror_that_was_just_filled_are_read_once_each(database: sa.Engine, number: int) -> None:
    keys = [f"photo {nth}" for nth in range(number)]
    with database.connect() as connection, code.staging(connection):
        _fill(connection, keys)
        before = connection.execute(sa.text(_READ)).scalar_one()
        for first in range(0, number, 100):
            assert len(code.read_payloads(connection, *WHO, keys[first : first + 100])) == 100
        assert connection.execute(sa.text(_READ)).scalar_one() - before == number


@pytest.mark.parametrize(("written", "among", "executed"), [(MANY - 1, 0, 0), (MANY, 0, 1), (MANY, 20 * MANY, 0)])
def test_few_rows_cost_no_statement(database: sa.Engine, written: int, among: int, executed: int) -> None:
    seen: list[str] = []
    with database.begin() as connection:
        sa.event.listen(connection, "before_cursor_execute", lambda *told: seen.append(told[2]))
        assert analyze_if_many(connection, mirror, written, among) == bool(executed)
    assert seen == ["ANALYZE imagesync.mirror"] * executed
