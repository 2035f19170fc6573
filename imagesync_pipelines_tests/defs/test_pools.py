"""Pools are made once, with the limit of dagster.yaml, also by several processes at once."""

from concurrent.futures import ThreadPoolExecutor

import dagster as dg

from imagesync_pipelines.defs.runs import make_pools


def limits(instance: dg.DagsterInstance) -> dict[str, int]:
    return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}


def test_pools_get_the_limit_of_dagster_yaml_and_keep_what_a_person_set(postgres_instance: dg.DagsterInstance) -> None:
    make_pools(postgres_instance, ["one_api"])
    assert limits(postgres_instance) == {"one_api": 1}
    postgres_instance.event_log_storage.set_concurrency_slots("one_api", 3)
    make_pools(postgres_instance, ["one_api", "another_api"])
    assert limits(postgres_instance) == {"one_api": 3, "another_api": 1}


def test_several_at_once_make_every_pool_once(postgres_instance: dg.DagsterInstance) -> None:
    names = [f"pool_{number}" for number in range(10)]
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(make_pools, postgres_instance, names) for _ in range(4)]:
            done.result()
    assert limits(postgres_instance) == dict.fromkeys(names, 1)
