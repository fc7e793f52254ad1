from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.release.security.personal import personal_data

DRAWN = random.Random(0)


def luhn(body: str) -> str:
    """`body` with its check digit."""
    digits = [int(digit) for digit in body]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[::-1][::2]]
    return body + str(-(sum(digits[::-1][1::2]) + sum(doubled)) % 10)


def card(prefix: str = "4", length: int = 16) -> str:
    body = prefix + "".join(DRAWN.choice("0123456789") for _ in range(length - 1 - len(prefix)))
    return luhn(body)


def iban(country: str = "DE") -> str:
    body = "".join(DRAWN.choice("0123456789") for _ in range(18))
    turned = body + str(int(country[0], 36)) + str(int(country[1], 36)) + "00"
    return f"{country}{98 - int(turned) % 97:02d}{body}"


def looked(values: list[object]) -> list[tuple[str, str]]:
    column = pd.Series(values)
    column = column.astype("str") if column.dtype == object else column
    findings = list(personal_data(pd.DataFrame({"note": column}), ["note"]))
    shown = {str(value) for value in values if len(str(value)) > 4}
    for finding in findings:
        assert not any(value in finding.evidence + finding.remedy for value in shown)
    return [(finding.kind, finding.evidence) for finding in findings]


CARDS = [card() for _ in range(8)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([f"ann{n}@example.org" for n in range(5)], "e-mail addresses"),
        (["nothing"] * 90 + [f"write to b.c+{n}@mail.example.co" for n in range(3)], "e-mail"),
        ([f"+33 6 12 34 56 {n}" for n in range(10, 40)], "phone numbers"),
        ([f"call +1 (212) 555-01{n}" for n in range(10, 40)] + ["-"] * 9, "phone numbers"),
        ([f"(212) 555-01{n}" for n in range(10, 40)], "phone numbers"),
        ([f"030 / 1234{n}" for n in range(100, 140)], "phone numbers"),
        (CARDS, "card numbers"),
        ([" ".join(text[i : i + 4] for i in range(0, 16, 4)) for text in CARDS], "card numbers"),
        ([f"paid by {text}, thanks" for text in CARDS] + ["cash", "later"], "card numbers"),
        ([card("37", 15) for _ in range(8)], "card numbers"),
        ([int(text) for text in CARDS], "card numbers"),
        ([float(text) for text in CARDS] + [float("nan")], "card numbers"),
        ([iban() for _ in range(4)], "account numbers"),
        (
            [
                f"{t[:4]} {t[4:8]} {t[8:12]} {t[12:16]} {t[16:20]} {t[20:]}"
                for t in (iban() for _ in range(4))
            ],
            "account numbers",
        ),
    ],
)
def test_personal_data_is_found_and_never_shown(values: list[object], kind: str) -> None:
    ((found, evidence),) = looked(values)
    assert found.startswith(kind)
    assert evidence.startswith("column note: ")


@pytest.mark.parametrize(
    "values",
    [
        ["support@example.org"] * 50,
        ["app", "store", "web"] * 10,
        [f"2026-01-{day:02d}" for day in range(1, 29)],
        [f"{day:02d}-02-2026" for day in range(1, 29)],
        [f"{day:02d}.02.2026" for day in range(1, 29)],
        [f"2026-01-{day:02d}T10:00:00+01:00" for day in range(1, 29)],
        [f"192.168.10.{n}" for n in range(100)],
        [f"A{n:08d}" for n in range(100)],
        [f"{n:010d}" for n in range(100)],
        [f"numpy@1.{n}.0" for n in range(30)],
        [f"@name{n}" for n in range(30)],
        [f"{n:032x}" for n in range(10**30, 10**30 + 50)],
        [str(4_000_000_000_000_000 + n) for n in range(200)],
        [4_000_000_000_000_000 + n for n in range(200)],
        [1_700_000_000_000_000 + 1_000_000 * n for n in range(200)],
        list(np.linspace(0, 1, 50)),
        [True, False] * 20,
    ],
)
def test_other_values_are_left_alone(values: list[object]) -> None:
    assert looked(values) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 400))
def test_numbers_of_sixteen_digits_are_hardly_ever_taken_for_cards(seed: int, rows: int) -> None:
    """A column of numbers that begin as cards do is called with a chance below 1 in 100,000."""
    drawn = np.random.default_rng(seed).integers(4 * 10**15, 5 * 10**15, rows)
    assert looked(drawn.tolist()) == []
