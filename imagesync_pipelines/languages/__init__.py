"""What people read in four languages: which one is spoken, texts, sentences that were stored, numbers and dates.

Each text is in the code or the template that says it, in English, and marked there; `catalogues` has the others.
A synchronisation in English imports neither Babel nor a catalogue.
"""

from imagesync_pipelines.languages.current import ENGLISH, LANGUAGES, chosen, current, speak, speaking
from imagesync_pipelines.languages.texts import N_, _, ngettext, npgettext, pgettext
from imagesync_pipelines.languages.told import retold, told, told_n

__all__ = [
    "ENGLISH",
    "LANGUAGES",
    "N_",
    "_",
    "chosen",
    "current",
    "ngettext",
    "npgettext",
    "pgettext",
    "retold",
    "speak",
    "speaking",
    "told",
    "told_n",
]
