"""What the folder connector hands from step to step, and what its source mirror keeps of a file."""

from pydantic import BaseModel

NAME = "folder"


class KnownFile(BaseModel):
    """A picture in the folder, as the mirror has it; changed: its time of modification as the folder writes it."""

    changed: str
    size: int
    sha256: str
    width: int
    height: int
    format: str


class FilesScan(BaseModel):
    """What a scan of the folder found; a scan without a proof shows no file as gone.

    files: pictures there are. read: of them, those that were new or changed. gone: no longer there. set_aside: path →
    why it is no picture.
    """

    scan_id: int
    proven: bool
    reason: str
    files: int
    read: int
    gone: int
    set_aside: dict[str, str]

    @property
    def warnings(self) -> list[str]:
        """What a person has to know of it."""
        aside = f"{len(self.set_aside)} files are no pictures and were set aside, for example "
        told = [aside + ": ".join(min(self.set_aside.items()))] if self.set_aside else []
        return told if self.proven else [*told, f"{self.reason}; nothing is taken to be gone."]


class FolderError(Exception):
    """The folder cannot be read, or a setting is missing; the message says what to do."""
