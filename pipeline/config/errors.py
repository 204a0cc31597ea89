"""Errors that the user or the surroundings cause; each is one sentence, shown without a traceback.

    UserError
    ├── ConfigError     a configuration value, by field, rule and value
    ├── DataError       a data file or set that cannot be used
    ├── StudyError      a study that cannot be continued, or is held by another process
    ├── TrackingError   a tracking store that cannot be reached, read or written
    └── RecordError     a recorded run that is missing, damaged, foreign or hostile

Code in `pipeline.nn` and `pipeline.training` raises plain `ValueError`, because its callers are programmers.
"""

import errno

from pipeline.config.text import printable


class UserError(Exception):
    """A user's mistake or an external failure; the message is one sentence for the person at the terminal."""

    def __init__(self, message: str = ""):
        super().__init__(printable(message))


class ConfigError(UserError):
    """A configuration value breaks its rule."""


class DataError(UserError):
    """A data set cannot be read or used."""


class StudyError(UserError):
    """A study cannot be started or continued."""


class TrackingError(UserError):
    """The tracking store cannot be used."""


class StoreAway(TrackingError):
    """The tracking store does not answer at present; the same command may succeed later."""


class RecordError(UserError):
    """A record is missing, damaged, or holds something that records must not hold."""


_REFUSED = ("can't start new thread", "failed to map segment", "cannot allocate memory")


def exhaustion(error: BaseException) -> str:
    """Return a sentence if the system refused memory, a thread or a process; empty for any other error."""
    refused = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not refused and not any(words in str(error).lower() for words in _REFUSED):
        return ""
    return (
        "the system gives this process no more memory, threads or processes (ulimit -a shows the limits, ulimit -v "
        "that of memory). What was finished is kept: the same command continues under wider limits."
    )
