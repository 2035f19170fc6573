"""Where the listings of a run come from: one mapping file, all files of the folder, Amazon's catalogue as it is now."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
from upath import UPath

from imagesync_pipelines.connectors.plytix.client.amazon import Catalogue
from imagesync_pipelines.connectors.plytix.errors import MappingError
from imagesync_pipelines.connectors.plytix.mapping import read_mapping
from imagesync_pipelines.connectors.plytix.model import AmazonItem, ListingsRead, SetAside
from imagesync_pipelines.connectors.plytix.rules import AMAZON_SKU, SKU_PREFIX, amazon_sku
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.files import open_root
from imagesync_pipelines.upstream.details import details_told

LIVE_SHAPE = "catalogue"
# Somebody may still be writing a file of a folder; one that is still growing is taken up at the next look.
SETTLED = timedelta(seconds=3)


def read_sources(mapping: str, folder: str, shared: Settings) -> ListingsRead:
    """The items of a mapping file (path or s3:// URL); without one, of every mapping file in the folder.

    Of a product that several files name, the newest file counts. What is set aside names its product, or else its file
    and the place in it. Raises SettingsError when there is neither file nor
    folder, and MappingError for a file that is not there or cannot be used at all.
    """
    if not mapping and not folder:
        raise SettingsError("No mapping file was named, and PLYTIX_MAPPING_FOLDER is not set.")
    paths = [mapping] if mapping else [file.path for file in mapping_files(folder, shared)]
    if not paths:
        raise SettingsError(f"PLYTIX_MAPPING_FOLDER: there is no mapping file (*.json) in {folder}.")
    files = []
    for path in paths:
        try:
            body = mapping_path(path, shared).read_bytes()
        except OSError as error:
            raise MappingError(f"{path}: the mapping file cannot be read ({error.strerror or error}).") from None
        files.append(read_mapping(body, PurePosixPath(path).name))
    newest = {item.sku: number for number, file in enumerate(files) for item in file.items}
    return ListingsRead(
        source=", ".join(file.source for file in files),
        files=tuple(file.source for file in files),
        whole=not mapping,
        shape=" + ".join(sorted({file.shape for file in files})),
        entries=sum(file.entries for file in files),
        items=tuple(item for number, file in enumerate(files) for item in file.items if newest[item.sku] == number),
        set_aside=tuple(_of_file(entry, file.source) for file in files for entry in file.set_aside),
        warnings=tuple(sentence for file in files for sentence in file.warnings),
    )


def _of_file(entry: SetAside, source: str) -> SetAside:
    return entry if entry.where.startswith(SKU_PREFIX) else entry._replace(where=f"{source}: {entry.where}")


def named_products(skus: Sequence[str]) -> ListingsRead:
    """Products by SKU, without images: for Amazon's catalogue, which is asked for them without any mapping file.

    Raises SettingsError for what is no SKU of an Amazon product.
    """
    items = []
    for sku in dict.fromkeys(skus):
        found = AMAZON_SKU.fullmatch(sku)
        if found is None:
            raise SettingsError(f"{sku!r} is no SKU of an Amazon product; one looks like AMZN-US-B01ABCDEFG.")
        items.append(AmazonItem(sku, found[2], found[1], False, "", ()))
    return ListingsRead(source=f"{len(items)} SKUs", shape=LIVE_SHAPE, entries=len(items), items=tuple(items))


def only(read: ListingsRead, skus: Sequence[str]) -> ListingsRead:
    """These products alone. Raises SettingsError for one that was not read."""
    wanted = set(skus)
    unread = sorted(wanted - {item.sku for item in read.items})
    if unread:
        raise SettingsError(f"{read.source} has no product {unread[0]}.")
    items = tuple(item for item in read.items if item.sku in wanted)
    return read.model_copy(update={"items": items, "files": (), "whole": False})


def as_amazon_has_them(
    read: ListingsRead, ask: Callable[[Sequence[str], str], Catalogue], marketplace: str
) -> ListingsRead:
    """The same products with the images that Amazon's catalogue has now, and their parents; `marketplace`: '' for all.

    ask: client.amazon.CatalogueApi.items. A product that Amazon does not have any more keeps no image here, which is
    never taken for a removal. Raises what the catalogue raises.
    """
    asked: dict[str, list[AmazonItem]] = {}
    for item in read.items:
        if not marketplace or item.marketplace == marketplace:
            asked.setdefault(item.marketplace, []).append(item)
    items: list[AmazonItem] = []
    missing: list[str] = []
    set_aside: list[SetAside] = []
    left_out: list[tuple[str, str]] = []
    for country, named in asked.items():
        catalogue = ask([item.asin for item in named], country)
        absent = set(catalogue.missing)
        gone = [item for item in named if item.asin in absent]
        items += [*catalogue.items, *(item._replace(images=()) for item in gone)]
        missing += [item.sku for item in gone]
        # A catalogue knows ASINs; everybody behind this point speaks of products of Plytix.
        set_aside += [entry._replace(where=amazon_sku(country, entry.where)) for entry in catalogue.set_aside]
        left_out += [(amazon_sku(country, asin), what) for asin, what in catalogue.left_out]
    found = {
        "items": tuple(items),
        "set_aside": tuple(set_aside),
        "missing": tuple(dict.fromkeys(missing)),
        "warnings": (*read.warnings, *details_told(told("Amazon's catalogue"), left_out)),
    }
    return read.model_copy(update={"shape": LIVE_SHAPE, **found})


class FoundFile(NamedTuple):
    """One mapping file: its path or URL, when it was written, and a mark that changes with its content."""

    path: str
    modified: datetime
    mark: str


def mapping_path(path: str, shared: Settings) -> UPath:
    """A path or URL of a mapping file, or of a folder of them, ready to be read.

    Raises SettingsError for a scheme that nothing here can read.
    """
    try:
        return open_root(path, shared)
    except StorageError as error:
        raise SettingsError(f"{path} is no folder, file or s3:// URL that can be read ({error}).") from None


def mapping_files(folder: str, shared: Settings) -> list[FoundFile]:
    """The mapping files of a folder or S3 prefix itself, oldest first. Raises SettingsError when it cannot be read."""
    place = mapping_path(folder, shared)
    try:
        found = [_file(path) for path in place.iterdir() if path.suffix == ".json" and not path.name.startswith(".")]
    except (OSError, ValueError, BotoCoreError) as error:
        raise SettingsError(f"PLYTIX_MAPPING_FOLDER: {folder} cannot be read ({error}).") from None
    return sorted(found, key=lambda file: (file.modified, file.path))


def news(files: Collection[FoundFile], seen: Mapping[str, str], now: datetime) -> list[FoundFile]:
    """Those of the files, in their order, that are new or not as they were seen, and that nobody is still writing."""
    return [
        file for file in files if seen.get(file.path) != file.mark and not timedelta(0) <= now - file.modified < SETTLED
    ]


def _file(path: UPath) -> FoundFile:
    about: Mapping[str, Any] = path.fs.info(path.path)
    changed = about.get("LastModified") or about.get("mtime")
    moment = changed if isinstance(changed, datetime) else datetime.fromtimestamp(float(changed or 0), UTC)
    etag = str(about.get("ETag") or "").strip('"')
    return FoundFile(str(path), moment.astimezone(UTC), etag or f"{about.get('size')} {moment.timestamp()}")
