"""Callers of a served model: rows of a day over HTTP, in time order, and their labels."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pandas as pd


def ask(address: str, rows: pd.DataFrame, times: pd.Series[Any] | None = None) -> list[str]:
    """Send `rows`, one request for each of their times, or one in all; the prediction ids."""
    parts = [(None, rows)] if times is None else list(rows.groupby(times, sort=True))
    ids: list[str] = []
    with httpx.Client(base_url=address, timeout=60) as client:
        for when, part in parts:
            records = json.loads(part.to_json(orient="records"))
            headers = {} if when is None else {"X-Event-Time": _written(when)}
            response = client.post(
                "/invocations", json={"dataframe_records": records}, headers=headers
            )
            assert response.status_code == 200, response.text
            ids += response.json()["prediction_ids"]
    return ids


def refused(address: str, rows: pd.DataFrame) -> set[str]:
    """Send each row alone to a service that takes none; what it says."""
    said = set()
    for record in json.loads(rows.to_json(orient="records")):
        response = httpx.post(
            f"{address}/invocations", json={"dataframe_records": [record]}, timeout=60
        )
        assert response.status_code == 400, response.text
        said.add(response.json()["error"])
    return said


def label(address: str, ids: list[str], labels: pd.Series[Any]) -> None:
    """Say what turned out to be true of each prediction."""
    pairs = zip(ids, labels.tolist(), strict=True)
    body = {"labels": [{"prediction_id": name, "label": value} for name, value in pairs]}
    response = httpx.post(f"{address}/feedback", json=body, timeout=60)
    assert response.status_code == 200, response.text
    assert response.json() == {"accepted": len(ids), "unknown": [], "unknown_count": 0}


def _written(when: Any) -> str:
    time = pd.Timestamp(when)
    return (time if time.tzinfo else time.tz_localize("UTC")).isoformat()
