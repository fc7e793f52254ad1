"""Reads the rows that a declaration's `source` names: CSV, Parquet, SQL or a python function."""

from __future__ import annotations

import glob
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_pipelines.data_spec import Source, Sql
from mlops_pipelines.environment import resolve, with_driver
from mlops_pipelines.errors import DataError
from mlops_pipelines.importing import load_attribute

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


def load_rows(source: Source, root: Path, folder: Path) -> pd.DataFrame:
    """The rows of `source`, as they are; a frame of no rows is returned, not refused.

    Paths are relative to the project folder `root`; a python function may lie in `folder`, beside
    the declaration. Raises DataError where the rows cannot be had.
    """
    if source.csv is not None:
        return _from_files(source.csv, root, "csv", lambda path: pd.read_csv(path))
    if source.parquet is not None:
        return _from_files(source.parquet, root, "parquet", lambda path: pd.read_parquet(path))
    if source.sql is not None:
        return _from_sql(source.sql, root)
    assert source.python is not None
    return _from_function(source.python, source.params, root, folder)


def describe(source: Source) -> str:
    """`source` in one line, without user, password or the parameters of an address."""
    if source.sql is None:
        return f"{source.kind} {getattr(source, source.kind)}"
    query = " ".join(source.sql.query.split())
    if not isinstance(source.sql.url, str):
        return f"sql ${source.sql.url.env}: {query}"
    return f"sql {_shown(_parse_url(source.sql.url))}: {query}"


def _from_files(
    pattern: str, root: Path, kind: str, read: Callable[[Path], pd.DataFrame]
) -> pd.DataFrame:
    found = sorted(glob.glob(str(root / pattern), recursive=True))
    paths = [Path(name) for name in found if Path(name).is_file()]
    if not paths:
        raise DataError(
            f"{kind} {pattern}: no such file under {root}; "
            "put the file there, or mend data.source in the declaration"
        )
    frames: list[pd.DataFrame] = []
    for path in paths:
        shown = path.relative_to(root) if path.is_relative_to(root) else path
        try:
            frame = read(path)
        except pd.errors.EmptyDataError:
            raise DataError(f"{kind} {shown}: the file is empty; a header was expected") from None
        except Exception as error:
            # The parser's own text may quote the row it stumbled over.
            raise DataError(
                f"{kind} {shown}: cannot be read as {kind} ({type(error).__name__}); "
                "check that the file is whole and of that format"
            ) from error
        if frames and list(frame.columns) != list(frames[0].columns):
            different = sorted(set(map(str, frame.columns)) ^ set(map(str, frames[0].columns)))
            what = f"differ in {', '.join(different)}" if different else "stand in another order"
            raise DataError(
                f"{kind} {shown}: its columns {what} from those of {paths[0].name}; "
                f"all files of {pattern} must have the same columns"
            )
        frames.append(frame)
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _from_sql(sql: Sql, root: Path) -> pd.DataFrame:
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    url = _parse_url(resolve(sql.url))
    connect: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        file = root / str(url.database)
        if not file.is_file():
            raise DataError(f"sql {_shown(url)}: no such file under {root}; put the database there")
        url = url.set(database=str(file))
    elif url.get_backend_name() == "postgresql":
        connect["connect_timeout"] = 10
    try:
        engine = create_engine(url, connect_args=connect)
    except (NoSuchModuleError, ImportError) as error:
        raise DataError(
            f"sql {_shown(url)}: the driver of {url.drivername} is not installed; "
            "install it, or name another in the URL"
        ) from error
    try:
        with engine.connect() as connection:
            return pd.read_sql_query(text(sql.query), connection)
    except (SQLAlchemyError, pd.errors.DatabaseError) as error:
        raise DataError(
            f"sql {_shown(url)}: {_reason(error, url)}; "
            "check that the database is up, and the query of data.source"
        ) from error
    finally:
        engine.dispose()


def _parse_url(url: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(with_driver(url))
    except (ArgumentError, ValueError):
        raise DataError(
            "sql: the url is not one; expected dialect://user:password@host:port/database"
        ) from None


def _shown(url: URL) -> str:
    host = f"{url.host}:{url.port}" if url.port else url.host or ""
    return f"{url.drivername}://{host}/{url.database or ''}"


def _reason(error: Exception, url: URL) -> str:
    if isinstance(error, pd.errors.DatabaseError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    cause = getattr(error, "orig", None) or error
    kind = type(cause).__name__
    if kind in ("DataError", "IntegrityError"):
        return kind
    line = next(iter(str(cause).strip().splitlines()), "")
    password = str(url.password or "")
    return f"{kind}: {line.replace(password, '***') if password else line}"


def _from_function(path: str, params: dict[str, Any], root: Path, folder: Path) -> pd.DataFrame:
    function = load_attribute(path, root, folder)
    if not callable(function):
        raise DataError(f"python {path}: is a {type(function).__name__}; a function was expected")
    arguments = dict(params)
    if "as_frame" in _parameters(function):
        arguments.setdefault("as_frame", True)
    try:
        found = function(**arguments)
    except Exception as error:
        # What it says may quote a row; the exception itself is chained for those who debug.
        raise DataError(
            f"python {path}: raised {type(error).__name__}{_place(error)}; "
            "call it by hand to see the whole of it"
        ) from error
    # scikit-learn's loaders return a Bunch, whose frame holds the features and `target`.
    frame = found if isinstance(found, pd.DataFrame) else getattr(found, "frame", None)
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"python {path}: returned a {type(found).__name__}; a pandas data frame was expected"
        )
    return frame


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
