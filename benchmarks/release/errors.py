"""Why a figure could not be measured."""


class SetupError(Exception):
    """The engine lacks what the benchmark needs; `str()` says what, in one line."""


class RefusedError(Exception):
    """What was to be measured did not happen; `str()` says what did, in one line."""
