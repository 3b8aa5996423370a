"""Exceptions whose text is meant for the person at the terminal."""


class BackbenchError(Exception):
    """Base of all errors that are shown as one line, without a traceback."""


class RequestError(BackbenchError):
    """The request or the data cannot be used: nothing was written, exit code 2."""


class DamagedError(RequestError):
    """A file of a results folder is not what was written."""


class UnavailableError(BackbenchError):
    """One backbone cannot be measured here: its cells are `skipped` and the sweep goes on."""


class StoppedError(BackbenchError):
    """Work in the background was given up, because whoever wanted it is leaving."""
