"""Personal data in the values of text columns, told by their pattern and their check digits.

Whatever the columns hold rides along in the bundle: its golden rows are real ones. What a pattern
alone could confuse with other numbers is checked further. Card and account numbers have check
digits that one in ten, or in 97, other numbers has by chance; a column is called where so many
right ones have a chance of less than 1 in 100,000 to be anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from mlops_pipelines.release.security.report import Finding
from mlops_pipelines.release_spec import FindingKind

MOST_VALUES = 20_000
MOST_LETTERS = 500
FEWEST = 3
"""Distinct values below which a column is not called: a shop's own address is nobody's data."""
BY_CHANCE = 1e-5
SHARE = 0.5
"""Of a column's distinct values that must look like phone numbers: these have no check digits."""

EMAIL = re.compile(r"[\w.%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b")
INTERNATIONAL = re.compile(r"(?<![\w+])\+[1-9](?:[ ().\-/]{0,2}\d){7,14}(?![\w])")
NATIONAL = re.compile(
    r"(?:1[ .-]?)?\(?[2-9]\d{2}\)?[ .-][2-9]\d{2}[ .-]\d{4}"  # North America
    r"|\(?0[1-9]\d{1,3}\)?[ ./-]{1,3}\d(?:[ ./-]?\d){5,8}"
    r"|0[1-9](?:[ .-]\d{2}){4}"
)
CARD = re.compile(r"(?<![\dA-Za-z])\d(?:[ -]?\d){12,18}(?![\dA-Za-z])")
ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|(?:6011|65\d\d|64[4-9]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")

_REMEDY = (
    "the model learns it and the bundle carries examples: drop the column, or replace the values "
    "by what the model needs of them"
)


def personal_data(rows: pd.DataFrame, columns: list[str]) -> Iterator[Finding]:
    """Findings on the values of `columns`, at most 20,000 distinct ones of each.

    Text is looked at for all of it, whole numbers for card numbers alone.
    """
    for name in columns:
        values = rows[name]
        if pd.api.types.is_bool_dtype(values.dtype):
            continue
        if pd.api.types.is_numeric_dtype(values.dtype):
            yield from _cards(name, _long_numbers(values))
            continue
        distinct = pd.Series(values.dropna().unique()).astype(str)
        texts = [str(text)[:MOST_LETTERS] for text in distinct.iloc[:MOST_VALUES]]
        yield from _emails(name, texts)
        yield from _phones(name, texts)
        yield from _cards(name, texts)
        yield from _checked(name, texts, "account numbers", IBAN.findall, _is_iban, 1 / 97, "IBANs")


def _emails(name: str, texts: list[str]) -> Iterator[Finding]:
    hits = sum(EMAIL.search(text) is not None for text in texts)
    if hits >= FEWEST:
        yield _finding(name, "e-mail addresses", hits, len(texts), "e-mail addresses")


def _phones(name: str, texts: list[str]) -> Iterator[Finding]:
    hits = sum(
        INTERNATIONAL.search(text) is not None or NATIONAL.fullmatch(text.strip()) is not None
        for text in texts
    )
    written_out = sum(INTERNATIONAL.search(text) is not None for text in texts)
    if written_out >= FEWEST or hits >= max(FEWEST, SHARE * len(texts)):
        yield _finding(name, "phone numbers", hits, len(texts), "phone numbers")


def _cards(name: str, texts: list[str]) -> Iterator[Finding]:
    def candidates(text: str) -> list[str]:
        digits = (re.sub(r"[ -]", "", found) for found in CARD.findall(text))
        return [number for number in digits if ISSUERS.fullmatch(number)]

    yield from _checked(name, texts, "card numbers", candidates, _luhn, 1 / 10, "card numbers")


def _checked(
    name: str,
    texts: list[str],
    kind: FindingKind,
    candidates: Callable[[str], list[str]],
    is_right: Callable[[str], bool],
    chance: float,
    what: str,
) -> Iterator[Finding]:
    """A finding where more candidates pass their check than chance explains."""
    found = {number for text in texts for number in candidates(text)}
    right = sum(is_right(number) for number in found)
    if right >= FEWEST and _at_least(right, len(found), chance) < BY_CHANCE:
        hits = sum(any(map(is_right, candidates(text))) for text in texts)
        yield _finding(name, kind, hits, len(texts), f"{what} with right check digits")


def _at_least(hits: int, n: int, chance: float) -> float:
    """P(at least `hits` of `n`) where each has `chance`."""
    from scipy.stats import binom

    return float(binom.sf(hits - 1, n, chance))


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    number = text.replace(" ", "")
    turned = number[4:] + number[:4]
    return 15 <= len(number) <= 34 and int("".join(str(int(c, 36)) for c in turned)) % 97 == 1


def _long_numbers(values: pd.Series) -> list[str]:
    """The distinct whole numbers of 13 to 19 digits, as text."""
    distinct = values.dropna().unique()
    # Beyond 2**53 a float64 no longer says which whole number it was.
    most = 2**53 if distinct.dtype.kind == "f" else 10**19
    kept = distinct[(distinct >= 10**12) & (distinct < most)]
    whole = kept[kept == np.floor(kept)] if kept.dtype.kind == "f" else kept
    return [str(int(number)) for number in whole[:MOST_VALUES]]


def _finding(name: str, kind: FindingKind, hits: int, of: int, what: str) -> Finding:
    return Finding(
        "high", kind, f"column {name}: {hits} of {of} distinct values hold {what}", _REMEDY
    )
