"""The same Chromium as for the catalogue."""

from imagesync_pipelines_tests.web.catalogue.browser.conftest import browser_type_launch_args

__all__ = ["browser_type_launch_args"]
