"""The base of the errors that are written for people.

What belongs here: that one class, so that the command line knows such an error without importing what raises it. What
does not: the errors themselves, which are where they are raised.
"""


class ImagesyncError(Exception):
    """Something that people can put right; the message is one line: what happened, to what, and what to do."""
