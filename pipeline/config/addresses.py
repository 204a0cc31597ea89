"""Addresses of databases and servers: shown without credentials, and completed with a driver that is installed."""

import re
from importlib.util import find_spec

_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
_SECRET_QUERY = re.compile(
    r"(?i)([?&;][^=&\s]*(?:password|passwd|pwd|secret|token|key|signature|sig|credential)[^=&\s]*=)[^&#\s'\"]+"
)
_POSTGRESQL_DRIVERS = ("psycopg", "psycopg2")


def mask(text: str) -> str:
    """Replace user names, passwords and tokens in every address within `text` by `***`."""
    return _SECRET_QUERY.sub(r"\1***", _USERINFO.sub("***@", text))


def with_driver(uri: str) -> str:
    """Name a driver that is installed in a PostgreSQL address that names none.

    SQLAlchemy's own default differs between its versions: psycopg2 before 2.1, psycopg since.
    """
    if uri.startswith(("postgresql://", "postgres://")):
        for driver in _POSTGRESQL_DRIVERS:
            if find_spec(driver) is not None:
                return f"postgresql+{driver}://{uri.split('://', 1)[1]}"
    return uri
