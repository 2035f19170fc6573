"""What is asked of a connector for the quality of pictures: what an account shows, by our own tables alone."""

from typing import Any

from imagesync_pipelines.quality.noting import Noted, note_pictures
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage.schema import metadata
from imagesync_pipelines.sync.channel_picture import ChannelPicture
from imagesync_pipelines_tests.conformance.subject import Subject

TABLES = ("channel_picture", "picture_measure", "picture_score", "quality_day", "picture_alike")


def listed(subject: Subject, site: Any) -> tuple[list[ChannelPicture], Noted]:
    """What the connector lists of its account, in order, and what came of noting it."""
    connector = connector_named(subject.name)
    with site.opened() as (place, _):
        assert subject.account in connector.channels(place.settings)
        found = sorted(connector.channel_pictures(place.engine, place.settings, subject.account))
        return found, note_pictures(place.engine, subject.name, subject.account, iter(found))


def quality_rows(site: Any) -> dict[str, Any]:
    """Every row, with its version, of the tables of quality."""
    tables = (metadata.tables[f"imagesync.{name}"] for name in TABLES)
    return {one.name: site.rows(f"SELECT xmin::text, t::text FROM {one} t ORDER BY 2") for one in tables}


def assert_listed(subject: Subject, site: Any) -> None:
    """The main pictures are those that the target shows, each once; it takes no call, and a second time no write."""
    calls, shown = site.calls(), site.mains()
    pictures, _ = listed(subject, site)
    mains = [one for one in pictures if one.is_main]
    assert shown
    assert [one.code for one in mains] == sorted(shown)
    assert [one for one in mains if shown[one.code] not in one] == []
    assert len({(one.code, one.key) for one in pictures}) == len(pictures)
    rows = quality_rows(site)
    assert len(rows["channel_picture"]) == len(pictures)
    assert listed(subject, site) == (pictures, Noted(len(pictures)))
    assert quality_rows(site) == rows
    assert site.calls() == calls
