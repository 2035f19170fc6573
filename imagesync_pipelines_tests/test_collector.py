"""The collector is paused for a while, and afterwards it is as it was."""

import gc

import pytest

from imagesync_pipelines.collector import collector_paused


def fail_while_paused() -> None:
    with collector_paused(), collector_paused():
        assert not gc.isenabled()
        raise KeyError("a row")


def test_the_collector_is_off_inside_and_on_again_afterwards_even_after_an_error() -> None:
    with pytest.raises(KeyError):
        fail_while_paused()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
