"""Requests that no server should take, made from one seed, without end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.serving.nonsense import http, tables, v2
from benchmarks.serving.nonsense.source import Source

OFTEN = (
    tables.broken_json,
    tables.wrong_cell,
    tables.literal,
    tables.columns_differ,
    tables.ragged,
    tables.no_table,
    tables.nested,
    tables.csv,
    tables.ids,
    tables.feedback,
    v2.v2,
    v2.v2_frame,
    http.media,
    http.not_utf8,
    http.length,
    http.chunks,
    http.route,
    http.headers,
    http.noise,
)
SELDOM = (tables.many_rows, tables.deep, http.large_body)
"""One of these after three of each of the others: they take long."""


@dataclass(frozen=True)
class Bad:
    """The bytes to send, and which kind of nonsense they are."""

    kind: str
    data: bytes


def nonsense(source: Source) -> Iterator[Bad]:
    """Bad requests; the same seed gives the same ones."""
    while True:
        for make in (*OFTEN, *OFTEN, *OFTEN, source.pick(SELDOM)):
            yield Bad(make.__name__, make(source))
