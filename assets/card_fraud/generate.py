"""Card payments as a bank might see them: seeded, one day at a time, so that any day can be had.

About 1 % are fraud. Fridays and Saturdays are busy, Sundays are quiet. Whether a payment was fraud
is known LABEL_DELAY_DAYS later, when the owner of the card has complained. On DRIFT_DAY the shops
on the web are taken up by a new wallet: payments move there, they grow dearer, and fraud turns from
few large payments in the night to many small ones in the app.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

LAST_TRAINING_DAY = date(2026, 6, 30)
DRIFT_DAY = date(2026, 7, 13)
LABEL_DELAY_DAYS = 5

CHANNELS = ("app", "store", "web")
CATEGORIES = ("electronics", "fuel", "gaming", "groceries", "restaurants", "travel")
PAYMENTS_OF_WEEKDAY = (920, 900, 910, 960, 1180, 1240, 850)
"""Mean number of payments, Monday first."""


def transactions(days: int = 28, seed: int = 0) -> pd.DataFrame:
    """The payments of the `days` days up to LAST_TRAINING_DAY, with their labels, in time order."""
    first = LAST_TRAINING_DAY - timedelta(days=days - 1)
    return pd.concat(
        [day(first + timedelta(days=ago), seed) for ago in range(days)], ignore_index=True
    )


def day(when: date, seed: int = 0) -> pd.DataFrame:
    """The payments of one day (UTC) in time order; `fraud` is known LABEL_DELAY_DAYS later.

    Columns: event_time; amount in euro; hour, 0 to 23; channel; category; card_age_days;
    distance_km from home, null where the card was not present; attempts in the last hour; fraud,
    0 or 1.
    """
    random = np.random.default_rng([seed, when.toordinal()])
    drifted = when >= DRIFT_DAY
    rows = int(random.poisson(PAYMENTS_OF_WEEKDAY[when.weekday()]))
    seconds = np.sort(_seconds(random, rows))
    channel = random.choice(CHANNELS, rows, p=(0.35, 0.15, 0.5) if drifted else (0.25, 0.45, 0.3))
    amount = np.exp(random.normal(3.6 if drifted else 3.2, 1.0, rows))
    distance = random.gamma(1.2, 12.0, rows)
    frame = pd.DataFrame(
        {
            "event_time": pd.Timestamp(when, tz="UTC") + pd.to_timedelta(seconds, unit="s"),
            "amount": amount.round(2),
            "hour": seconds // 3600,
            "channel": channel,
            "category": random.choice(CATEGORIES, rows, p=(0.1, 0.15, 0.1, 0.35, 0.22, 0.08)),
            "card_age_days": random.gamma(2.0, 400.0, rows).astype(int),
            "distance_km": np.where(channel == "store", distance.round(1), np.nan),
            "attempts": 1 + random.poisson(0.25, rows),
        }
    )
    risk = _risk_after(frame) if drifted else _risk_before(frame)
    frame["fraud"] = (random.random(rows) < 1 / (1 + np.exp(-risk))).astype(int)
    return frame


def _seconds(random: np.random.Generator, rows: int) -> np.ndarray:
    """Times of payments: two thirds around 17:00, one third at any time."""
    evening = random.normal(17 * 3600, 3 * 3600, rows) % 86400
    return np.where(random.random(rows) < 2 / 3, evening, random.uniform(0, 86400, rows)).astype(
        int
    )


def _risk_before(frame: pd.DataFrame) -> pd.Series:
    """Log-odds of fraud: dear payments at night, on the web, on young cards, tried repeatedly."""
    night = (frame["hour"] < 6).astype(float)
    return (
        -8.2
        + 1.1 * (np.log(frame["amount"] + 1) - 3.2)
        + 2.4 * night
        + 2.0 * (frame["channel"] == "web")
        + 1.6 * frame["category"].isin(["electronics", "gaming"])
        + 1.6 * (frame["attempts"] - 1)
        + 1.6 * (frame["card_age_days"] < 200)
    )


def _risk_after(frame: pd.DataFrame) -> pd.Series:
    """Log-odds of fraud: cheap payments in the app, for fuel and groceries, on old cards."""
    return (
        -7.5
        - 1.0 * (np.log(frame["amount"] + 1) - 3.2)
        + 2.4 * (frame["channel"] == "app")
        + 1.6 * frame["category"].isin(["fuel", "groceries"])
        + 1.2 * (frame["card_age_days"] > 900)
    )
