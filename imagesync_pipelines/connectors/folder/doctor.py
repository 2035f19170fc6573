"""The folder or bucket of pictures, as `imagesync doctor` asks it: whether it is there and has anything."""

from collections.abc import Iterator

from imagesync_pipelines.connectors.folder.model import FolderError
from imagesync_pipelines.connectors.folder.settings import FolderSettings
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.files import check_root, open_root
from imagesync_pipelines.sync.health import Answer, Probe, Site


def probes(site: Site, settings: FolderSettings) -> Iterator[Probe]:
    """The folder, as soon as anything of it is set."""
    if settings.path or settings.url:
        yield Probe("folder", lambda: _ask(site.shared, settings), "FOLDER_PATH and FOLDER_URL")


def _ask(shared: Settings, settings: FolderSettings) -> Answer:
    if settings.missing:
        raise SettingsError(f"{' and '.join(settings.missing)} not set; see docs/folder.md")
    root = open_root(settings.path, shared)
    check_root(root)
    try:
        found = next(iter(root.iterdir()), None)
    except OSError as error:
        raise FolderError(f"the folder {root} cannot be listed: {error.strerror or error}") from None
    if found is None:
        raise FolderError(f"the folder {root} is empty; is it mounted? Nothing is removed on that")
    return Answer(told(f"{root} is there and can be listed"))
