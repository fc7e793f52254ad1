"""All days at a glance: how far each column was from the reference, day by day."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mlops_pipelines.measure.outputs import Floats

_LEFT, _TOP, _WIDTH, _ROW = 190, 24, 720, 14
_DAY = 80
"""A day is no wider, so that the names of days have room."""
_SHADES = ("#f4f6f8", "#dfe7ee", "#bccddb", "#8fabc2", "#e8b4a0", "#d9775c", "#c0392b")
_UNKNOWN = "#ffffff"
_NAME = 28


@dataclass(frozen=True)
class HeatMap:
    """Distances (days, columns) from the reference; NaN where a day has no rows.

    `limit` is the distance from which a change counts; `alarms` are the days that raised one.
    """

    days: tuple[str, ...]
    columns: tuple[str, ...]
    distances: Floats
    limit: float
    alarms: frozenset[str] = frozenset()

    def svg(self) -> str:
        """A row per column, a point per day, the oldest left; alarms are marked above."""
        if not self.days or not self.columns:
            return ""
        height = _TOP + _ROW * len(self.columns)
        width = min(_WIDTH, _DAY * len(self.days))
        step = width / len(self.days)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 40} '
            f'{height + 46}" font-family="sans-serif" font-size="11" role="img" '
            f'aria-label="Distance of each column from the reference, by day">',
            f'<image x="{_LEFT}" y="{_TOP}" width="{width}" height="{height - _TOP}" '
            'preserveAspectRatio="none" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{base64.b64encode(self._png()).decode()}"/>',
        ]
        for place, name in enumerate(self.columns):
            shown = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
            parts.append(
                f'<text x="{_LEFT - 6}" y="{_TOP + _ROW * place + 11}" text-anchor="end">'
                f"{escape(shown)}</text>"
            )
        for place, day in enumerate(self.days):
            if day in self.alarms:
                x = _LEFT + step * (place + 0.5)
                parts.append(
                    f'<path d="M{x - 4:.1f} {_TOP - 10} h8 l-4 7 z" fill="{_SHADES[-1]}">'
                    f"<title>{escape(day)}: alarm</title></path>"
                )
        for place in _ticks(len(self.days)):
            x = _LEFT + step * (place + 0.5)
            parts.append(
                f'<text x="{x:.1f}" y="{height + 14}" text-anchor="middle">'
                f"{escape(self.days[place])}</text>"
            )
        return "".join([*parts, *self._legend(height + 26), "</svg>"])

    def _legend(self, top: int) -> list[str]:
        parts = []
        for place, (shade, bound) in enumerate(zip(_SHADES, self._bounds(), strict=True)):
            x = _LEFT + place * 94
            parts.append(
                f'<rect x="{x}" y="{top}" width="14" height="12" fill="{shade}"/>'
                f'<text x="{x + 18}" y="{top + 10}">from {bound:.2g}</text>'
            )
        return parts

    def _bounds(self) -> tuple[float, ...]:
        """Where each shade begins: four below the limit, three from it on."""
        below = [self.limit * part / 4 for part in range(4)]
        return (*below, self.limit, self.limit * 2, self.limit * 4)

    def _png(self) -> bytes:
        """A pixel for each day and column, in the palette of the shades."""
        shade = np.searchsorted(np.array(self._bounds())[1:], self.distances, side="right") + 1
        cells = np.where(np.isnan(self.distances), 0, shade).T.astype(np.uint8)
        palette = b"".join(bytes.fromhex(colour[1:]) for colour in (_UNKNOWN, *_SHADES))
        rows = b"".join(b"\x00" + row.tobytes() for row in cells)
        header = struct.pack(">IIBBBBB", len(self.days), len(self.columns), 8, 3, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows, 9)))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in (*chunks, (b"IEND", b"")))


def _chunk(kind: bytes, content: bytes) -> bytes:
    """https://www.w3.org/TR/png-3/#5Chunk-layout."""
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _ticks(days: int) -> Sequence[int]:
    """The first, the last, and a few days between that leave room for their names."""
    return sorted({round(place * (days - 1) / 6) for place in range(7)}) if days > 1 else [0]
