"""The connector's settings have the contract's figures as defaults and refuse nonsense in one line."""

from imagesync_pipelines.connectors.edge.settings import EdgeSettings


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = EdgeSettings(_env_file=None)
    assert (settings.page_size, settings.concurrency, settings.pace_ms) == (100, 5, 0)
    assert (settings.incremental_schedule, settings.full_schedule) == ("0 * * * *", "0 2 * * *")
    assert (settings.max_failure_share, settings.max_run_minutes, settings.max_storage_share) == (0.1, 60, 0.8)
    assert (settings.memory_budget, settings.max_photo) == (64 * 1024 * 1024, 50 * 1024 * 1024)
