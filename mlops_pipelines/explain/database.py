"""A database that others write, and that is only read here: MLflow's, and Dagster's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Select, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

CONNECT_SECONDS = 5

Ask = Callable[[Select[Any]], Sequence[Any]]


class UnreadableError(Exception):
    """The database does not answer, or does not have these tables; `str()` is one line."""


@contextmanager
def asking(uri: str) -> Iterator[Ask]:
    """A function that answers a query by its rows, over one connection.

    A SQLite file that is not there is not made: everything is answered by no rows. Raises
    UnreadableError, without the user and password that `uri` may have.
    """
    try:
        engine = _engine(uri)
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        if file and not Path(file).exists():
            yield lambda _: []
            return
        with engine.connect() as connection:
            yield lambda query: connection.execute(query).fetchall()
    except (SQLAlchemyError, ArgumentError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise UnreadableError(reason[0] if reason else type(error).__name__) from None


@cache
def _engine(uri: str) -> Engine:
    """It asks a server for its ways once; connections are not kept."""
    url = make_url(uri)
    postgres = url.get_backend_name() == "postgresql"
    arguments = {"connect_timeout": CONNECT_SECONDS} if postgres else {}
    return create_engine(url, connect_args=arguments, poolclass=NullPool)
