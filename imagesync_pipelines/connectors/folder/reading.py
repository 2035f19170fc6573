"""The step `files`: the folder listed whole, what is new or changed read, measured and kept, the mirror brought up.

A file with the time and size that it had is taken to be the same; what a file is, its hash says.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.folder import model
from imagesync_pipelines.connectors.folder.settings import FolderSettings
from imagesync_pipelines.imaging.formats import WEB_KINDS
from imagesync_pipelines.imaging.validation import BadImageError, Fault, check_image
from imagesync_pipelines.products.file_names import canonical, is_ignored, stem
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage import mirror, scans
from imagesync_pipelines.storage.contents import Contents, own_source
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.files import open_root
from imagesync_pipelines.storage.quarantine import QuarantineItem
from imagesync_pipelines.sync.apply import item_failure
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.steps import RunContext, StepResult, Texts
from imagesync_pipelines.upstream.details import KEY_CHARACTERS

Run = RunContext[FolderSettings]
STAGE = "file"
# Other systems fetch the bytes from us: they are held far longer than any pause between two scans, which renew it.
HOLD = timedelta(days=400)


class Listed(NamedTuple):
    """A file as the folder lists it: the path to read it by, its time of modification, its size in bytes.

    unclear: why it is not looked at, '' when it is.
    """

    path: str
    changed: str
    size: int
    unclear: str = ""


def files(context: Run, _: NoOptions) -> StepResult:
    """The pictures in the folder: listed whole, what is new or changed decoded, measured and kept.

    What is no picture is set aside with its reason; an empty or missing folder shows nothing as gone.

    Raises SettingsError when a setting is missing or wrong, FolderError.
    """
    settings = context.settings
    if settings.missing:
        raise SettingsError(f"{' and '.join(settings.missing)} not set; see docs/folder.md")
    try:
        root = open_root(settings.path, context.installation.settings)
    except StorageError as error:
        raise SettingsError(f"FOLDER_PATH cannot be used: {error}") from None
    with context.lock():
        found = scan(context, root)
    context.keep("files", found)
    told = [f"{path}: {why}" for path, why in sorted(found.set_aside.items())]
    return StepResult(
        rows=found.files,
        numbers={"files/read": found.read, "files/gone": found.gone, "files/set_aside": len(told)},
        shown={
            "scan_id": found.scan_id,
            "set_aside": Texts(told),
            "proof": found.reason or languages.told("the whole folder was listed"),
        },
        lines=[
            languages.told(
                f"{found.files} pictures, {found.read} new or changed, {found.gone} gone, {len(told)} set aside."
            )
        ],
        warnings=found.warnings,
    )


def list_files(root: UPath) -> dict[str, Listed]:
    """Every file below the folder that is looked at, by its canonical path. Raises FolderError.

    Where several names have one canonical form, the one that is written so counts and the others are unclear; where
    none is, all of them are. So is one whose name is in no characters that can be read: it may be any file.
    """
    base = root.path.rstrip("/")
    try:
        root.fs.invalidate_cache()
        found: Mapping[str, Mapping[str, Any]] = root.fs.find(base, detail=True) if root.exists() else {}
    except OSError as error:
        raise model.FolderError(f"the folder cannot be listed: {error}; nothing was changed") from None
    alike: dict[str, dict[str, Listed]] = {}
    nameless: dict[str, Listed] = {}
    for path, facts in sorted(found.items()):
        below = path[len(base) :].lstrip("/")
        size = int(facts.get("size") or 0)
        if facts.get("type") == "directory" or is_ignored(below, size):
            continue
        shown = below.encode(errors="surrogateescape").decode(errors="backslashreplace")
        if shown != below:
            nameless[shown] = Listed(path, _changed(facts), size, model.NAMELESS)
        else:
            alike.setdefault(canonical(below), {})[below] = Listed(path, _changed(facts), size)
    listed = {}
    for key, files in alike.items():
        unclear = languages.told(
            f"{len(files)} files have the name {key} but for blanks and the form of letters; keep one of them"
        )
        if len(key) > KEY_CHARACTERS:
            unclear = languages.told(f"its path has {len(key)} characters; {KEY_CHARACTERS} fit")
            files = {below: one._replace(unclear=unclear) for below, one in files.items()}
        if len(files) == 1 or key in files:
            listed[key] = files.pop(key) if key in files else files.popitem()[1]
        else:
            listed[key] = files.popitem()[1]._replace(unclear=unclear)
        listed |= {below: one._replace(unclear=unclear) for below, one in files.items()}
    return listed | nameless


def scan(context: Run, root: UPath) -> model.FilesScan:
    """List the folder, read what is new or changed, and bring the mirror up to it in one transaction.

    An empty or missing folder looks like one that is not mounted: it proves nothing. Nor does one with a file that may
    be any.
    """
    engine = context.installation.engine
    there = list_files(root)
    scan_id = scans.start_scan(engine, model.NAME, page_size=len(there), block_size=1)
    nameless = sum(listed.unclear == model.NAMELESS for listed in there.values())
    reason = languages.told(f"{nameless} files have a name that cannot be read, and may be any") if nameless else ""
    reason = reason if there else languages.told(f"the folder {root} is empty or not there")
    with engine.connect() as connection, mirror.staging(connection):
        reader = _Reader(context, root, _known(connection))
        connection.commit()
        mirror.stage(connection, reader.rows(there))
        mirror.settle_staging(connection)
        with connection.begin():
            mirror.merge(connection, model.NAME, "", scan_id)
            gone = (
                0
                if reason
                else mirror.mark_missing_gone(connection, model.NAME, "", languages.told("not in the folder"))
            )
            live = mirror.count_live(connection, model.NAME, "")
            context.check_locks()
    scans.finish_scan(engine, scan_id, reason, first_count=len(there), last_count=len(there), pages=1)
    if not reason:
        waiting = {one.key for one in context.quarantine.list() if one.stage == STAGE}
        context.quarantine.clear(sorted(waiting - reader.set_aside.keys()))
    context.quarantine.put(
        [QuarantineItem(key, None, STAGE, why, None) for key, why in sorted(reader.set_aside.items())]
    )
    return model.FilesScan(
        scan_id=scan_id,
        proven=not reason,
        reason=reason,
        files=live,
        read=reader.read,
        gone=gone,
        set_aside=reader.set_aside,
    )


def _known(connection: sa.Connection) -> dict[str, model.KnownFile]:
    frame = mirror.read_mirror(
        connection, model.NAME, "", dict.fromkeys(model.KnownFile.model_fields, pa.large_string())
    )
    return {str(row["key"]): model.KnownFile.model_validate(row) for row in frame.to_dict(orient="records")}


class _Reader:
    """Files as rows of the mirror; what is no picture keeps the row that it had, and is told."""

    def __init__(self, context: Run, root: UPath, known: Mapping[str, model.KnownFile]) -> None:
        self._context, self._root, self._known = context, root, known
        self._contents = Contents(context.installation.engine, context.installation.storage)
        self.read = 0
        self.set_aside: dict[str, str] = {}

    def rows(self, there: Mapping[str, Listed]) -> Iterator[mirror.MirrorRow]:
        """A row for every file that is there; without a payload where it is not legible."""
        kept = self._contents.hold([own_source(one.sha256) for one in self._known.values()], HOLD)
        for done, (key, listed) in enumerate(there.items(), start=1):
            known = self._known.get(key)
            same = known is not None and (known.changed, known.size) == (listed.changed, listed.size)
            if listed.unclear:
                known, self.set_aside[key] = None, listed.unclear
            elif known is None or not same or own_source(known.sha256) not in kept:
                known = self._picture(key, listed)
            payload = known.model_dump_json() if known is not None else None
            yield mirror.MirrorRow(key, stem(key), known.sha256 if known is not None else None, payload, None)
            self._context.progress(languages.told("files"), done, len(there))

    def _picture(self, key: str, listed: Listed) -> model.KnownFile | None:
        try:
            if listed.size > self._context.settings.max_bytes:
                raise BadImageError(
                    Fault.TOO_LARGE, languages.told(f"{listed.size} bytes are more than FOLDER_MAX_BYTES")
                )
            body = self._root.fs.cat_file(listed.path)
            facts = check_image(body)
            if facts.format.lower() not in WEB_KINDS:
                raise BadImageError(
                    Fault.NO_IMAGE, languages.told(f"no browser shows {facts.format}; save it as JPEG, PNG or WebP")
                )
            self._contents.put(own_source(facts.sha256), body, facts, HOLD)
        except Exception as error:  # noqa: BLE001 - whatever one file does to a library, the others are read
            why = item_failure(error)
            self.set_aside[key] = str(error) if isinstance(error, BadImageError | OSError) else why
            return None
        self.read += 1
        return model.KnownFile(
            changed=listed.changed,
            size=listed.size,
            sha256=facts.sha256,
            width=facts.width,
            height=facts.height,
            format=facts.format.lower(),
        )


def _changed(facts: Mapping[str, Any]) -> str:
    """The time of modification as text: a folder's in seconds, an object store's with its ETag."""
    moment = facts.get("mtime", facts.get("LastModified"))
    if isinstance(moment, datetime):
        moment = moment.astimezone(UTC).isoformat()
    return f"{moment} {facts.get('ETag', '')}".strip()
