"""Excluding the products that groups of a site are about."""

from collections.abc import Callable, Collection
from typing import Any

from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.sync import excluding
from imagesync_pipelines.sync.excluding import Channel
from imagesync_pipelines_tests.conformance.subject import Subject


def skus_of(site: Any, subject: Subject, groups: Collection[str]) -> list[str]:
    """The SKUs of the products that groups are about."""
    with site.opened() as (installation, _):
        names = connector_named(subject.name).names_of(installation.engine, subject.account, groups)
    return sorted({names[group].code if group in names else group for group in groups})


def exclude(site: Any, subject: Subject, groups: Collection[str]) -> Callable[[], object]:
    """Exclude the products that groups are about, by their SKUs; gives the way back."""
    channel = Channel(subject.name, subject.account, connector_named(subject.name).groups_by_sku)
    skus = skus_of(site, subject, groups)
    with site.opened() as (installation, _):
        assert excluding.exclude(installation.engine, channel, skus, "anna") == skus

    def include() -> None:
        with site.opened() as (installation, _):
            assert excluding.include(installation.engine, channel, skus, "anna") == skus

    return include
