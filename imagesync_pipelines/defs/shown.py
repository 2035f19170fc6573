"""A step's result as metadata of a Dagster event."""

from collections.abc import Collection, Mapping

import dagster as dg
from pydantic import SecretStr

from imagesync_pipelines.defs import metadata, thumbnails
from imagesync_pipelines.defs.summaries import summary_metadata
from imagesync_pipelines.sync.steps import Json, Pictures, Shown, StepResult, Table, Texts

Metadata = dict[str, dg.MetadataValue]


def result_metadata(result: StepResult, secrets: Collection[SecretStr] = ()) -> Metadata:
    """Everything that a step told, in the order in which people read it."""
    found: Metadata = {}
    if result.summary is not None:
        found |= summary_metadata(result.summary)
    found |= metadata.metrics(result.numbers)
    found |= shown_metadata(result.shown, secrets)
    if result.rows is not None:
        found |= metadata.row_count(result.rows)
    if result.size is not None:
        found |= metadata.size_bytes(result.size)
    if result.columns:
        found |= metadata.columns(result.columns)
    return found


def shown_metadata(shown: Mapping[str, Shown], secrets: Collection[SecretStr] = ()) -> Metadata:
    """Named values as metadata."""
    return {name: _value(value, secrets) for name, value in shown.items()}


def _value(value: Shown, secrets: Collection[SecretStr]) -> dg.MetadataValue:
    match value:
        case Table(frame):
            return metadata.markdown_table(frame)
        case Texts(items):
            return metadata.markdown_list(items)
        case Json(document):
            return dg.MetadataValue.json(dict(document))
        case Pictures(labels, fetch):
            return thumbnails.from_urls(labels, fetch, secrets)
        case bool():
            return dg.MetadataValue.bool(value)
        case int():
            return dg.MetadataValue.int(value)
        case float():
            return dg.MetadataValue.float(value)
        case str():
            return dg.MetadataValue.text(value)
