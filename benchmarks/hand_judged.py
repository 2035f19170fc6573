"""Free pictures that packages bring, and what a person saw in each of them; the pictures themselves are not kept here.

Install what brings them beside everything else: pip install --no-deps scikit-image==0.26.0 scikit-learn==1.9.1
matplotlib==3.11.2 pygame==2.6.1 ultralytics==8.4.190.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


class Judged(NamedTuple):
    """What was seen. None: a person cannot say, or it is no question. words: text that is no label of a thing."""

    package: str
    path: str
    is_white: bool
    is_cropped: bool | None
    is_blurred: bool | None
    has_words: bool | None

    @property
    def name(self) -> str:
        return f"{self.package}: {Path(self.path).name}"


_SKIMAGE, _MATPLOTLIB = "skimage", "matplotlib"
JUDGED = (
    # A scene goes to every side.
    Judged(_SKIMAGE, "data/astronaut.png", False, True, False, False),
    Judged(_SKIMAGE, "data/brick.png", False, True, False, False),
    Judged(_SKIMAGE, "data/camera.png", False, True, False, False),
    Judged(_SKIMAGE, "data/cell.png", False, False, True, False),
    Judged(_SKIMAGE, "data/chelsea.png", False, True, False, False),
    Judged(_SKIMAGE, "data/chessboard_RGB.png", False, True, False, False),
    # Moved while it was taken, from left to right.
    Judged(_SKIMAGE, "data/clock_motion.png", False, False, True, False),
    Judged(_SKIMAGE, "data/coffee.png", False, True, False, False),
    Judged(_SKIMAGE, "data/coins.png", False, False, False, False),
    # A wheel of smooth colours, which has no edge.
    Judged(_SKIMAGE, "data/color.png", False, None, False, False),
    Judged(_SKIMAGE, "data/grass.png", False, True, False, False),
    Judged(_SKIMAGE, "data/gravel.png", False, True, False, False),
    Judged(_SKIMAGE, "data/horse.png", True, False, False, False),
    Judged(_SKIMAGE, "data/hubble_deep_field.jpg", False, None, None, False),
    Judged(_SKIMAGE, "data/ihc.png", False, True, False, False),
    Judged(_SKIMAGE, "data/logo.png", True, False, False, False),
    Judged(_SKIMAGE, "data/microaneurysms.png", False, None, None, False),
    Judged(_SKIMAGE, "data/moon.png", False, None, None, False),
    Judged(_SKIMAGE, "data/motorcycle_left.png", False, True, False, False),
    Judged(_SKIMAGE, "data/page.png", False, None, False, True),
    Judged(_SKIMAGE, "data/phantom.png", False, False, False, False),
    Judged(_SKIMAGE, "data/retina.jpg", False, None, None, False),
    Judged(_SKIMAGE, "data/rocket.jpg", False, True, False, False),
    # Handwriting on a sheet that lies slanted.
    Judged(_SKIMAGE, "data/text.png", False, None, None, None),
    Judged("sklearn", "datasets/images/china.jpg", False, True, False, False),
    Judged("sklearn", "datasets/images/flower.jpg", False, True, False, False),
    Judged(_MATPLOTLIB, "mpl-data/sample_data/grace_hopper.jpg", False, True, False, False),
    Judged(_MATPLOTLIB, "mpl-data/sample_data/logo2.png", True, False, False, True),
    Judged(_MATPLOTLIB, "mpl-data/sample_data/Minduka_Present_Blue_Pack.png", True, False, False, False),
    Judged("pygame", "examples/data/fist.png", False, True, False, False),
    Judged("pygame", "examples/data/arraydemo.bmp", False, True, False, True),
    Judged("pygame", "docs/generated/_static/pygame_logo.png", True, None, False, True),
    Judged("ultralytics", "assets/bus.jpg", False, True, False, False),
    Judged("ultralytics", "assets/zidane.jpg", False, True, False, False),
)


def judged() -> Iterator[tuple[Judged, bytes]]:
    """Those pictures whose package is installed."""
    for one in JUDGED:
        found = find_spec(one.package)
        file = Path(found.origin or "").parent / one.path if found else Path()
        if file.is_file():
            yield one, file.read_bytes()
