"""Every error this product raises on purpose; one branch per thing a caller can do about it.

MlopsError                 one clear line: where, what was found, what was expected, what to do
├── DeclarationError       mend a YAML file: carries every mistake with file:line:column
├── DataError              mend the data: a source, a column, a target
├── StoreError             make the store writable again
├── TrackingError          bring the MLflow server back
├── NotFoundError          name another model, version or prediction
└── ReleaseError           nothing moved; the serving version keeps serving
    ├── BusyError          wait: another release of the same model holds the lock
    └── TargetError        mend where bundles run: a port, an engine, a bundle that does not answer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class MlopsError(Exception):
    """Base of all errors raised on purpose; `str()` of it is one clear line."""


@dataclass(frozen=True)
class Mistake:
    """One mistake in a YAML file.

    `path` is the field (`monitor.schedule`), `message` says what is allowed and what was found.
    `line` and `column` count from 1.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where} {self.path}: {self.message}" if self.path else f"{where} {self.message}"


class DeclarationError(MlopsError):
    """One or more mistakes in a declaration or an environment, all of them at once."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class DataError(MlopsError):
    """The data is not what the declaration says: a missing file, column, class or row."""


class StoreError(MlopsError):
    """The store cannot be read or written."""


class TrackingError(MlopsError):
    """The MLflow server does not answer, or refuses."""


class NotFoundError(MlopsError):
    """There is no such model, version, bundle or prediction."""


class ReleaseError(MlopsError):
    """A release or rollback stopped; the version that served keeps serving."""


class BusyError(ReleaseError):
    """Another release of the same model is under way."""


class TargetError(ReleaseError):
    """The place where bundles run failed: a port, a process, an engine."""
