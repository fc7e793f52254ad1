"""Which types a model file may hold, so that it loads without ever running a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlops_pipelines.errors import DataError

_TRUSTED = ("sklearn.", "numpy.", "scipy.")

_KEEPABLE = (
    "cannot be kept without pickle; lambdas, inner functions and open handles cannot: "
    "use named functions and classes of a file beside the declaration"
)


def trusted_types(estimator: Any, root: Path, folder: Path, python: str) -> tuple[str, ...]:
    """The types in `estimator` beyond skops' own list, looked at one by one.

    scikit-learn's, numpy's, scipy's and those of the files beside the declaration are trusted;
    anything else raises DataError.
    """
    import skops.io

    try:
        data = skops.io.dumps(estimator)
    except Exception as error:
        raise DataError(f"{python}: {_KEEPABLE} ({type(error).__name__} on writing)") from error
    unknown = sorted(map(str, skops.io.get_untrusted_types(data=data)))
    allowed: tuple[str, ...] = _TRUSTED
    if folder.is_relative_to(root / "assets"):
        own = ".".join(("assets", *folder.relative_to(root / "assets").parts))
        allowed = (*_TRUSTED, f"{own}.")
    refused = [name for name in unknown if not name.startswith(allowed)]
    if refused:
        raise DataError(
            f"{python}: holds types that are not trusted: {', '.join(refused)}; trusted are "
            "scikit-learn, numpy, scipy and the files beside the declaration"
        )
    try:
        skops.io.loads(data, trusted=unknown)
    except Exception as error:
        raise DataError(f"{python}: {_KEEPABLE} ({type(error).__name__} on reading)") from error
    return tuple(unknown)
