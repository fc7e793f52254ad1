"""Reads a worker's /metrics page, in Prometheus' text format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(
    r'([A-Za-z_:][\w:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s+(\S+)(?:\s+-?\d+)?'
)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Sample:
    """One number of a metric, under its labels."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(page: str) -> tuple[Sample, ...]:
    """Every sample of the page, in its order; comments and broken lines are passed over.

    https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
    """
    found = []
    for line in page.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        labels = {name: _plain(value) for name, value in _LABEL.findall(match[2] or "")}
        try:
            found.append(Sample(match[1], labels, float(match[3])))
        except ValueError:
            continue
    return tuple(found)


def _plain(value: str) -> str:
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], value)
