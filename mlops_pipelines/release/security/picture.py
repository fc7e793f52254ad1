"""How far a metric falls under noise, as a small picture in markdown."""

from __future__ import annotations

import base64
from collections.abc import Sequence

_WIDTH, _HEIGHT, _LEFT, _TOP = 340, 170, 60, 16


def falls(points: Sequence[tuple[float, float, float, float]]) -> str:
    """Markdown with an SVG data URI under 4 kB: noise across, fall (upwards) with its interval.

    A point is (strength of the noise, fall, low, high); without noise nothing falls.
    """
    top = max(0.0, *(high for *_, high in points))
    bottom = min(0.0, *(low for _, _, low, _ in points))
    across = max(strength for strength, *_ in points)
    height = (top - bottom) or 1.0

    def x(strength: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 20) * strength / across

    def y(fall: float) -> float:
        return _TOP + (_HEIGHT - _TOP - 40) * (top - fall) / height

    marks = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{y(0):.1f}" y2="{y(0):.1f}" stroke="#888888"/>'
        f'<text x="{_LEFT - 6}" y="{y(0) + 4:.1f}" text-anchor="end">0</text>'
        f'<text x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">'
        "noise, in units of each feature's spread</text>"
    ]
    for strength, fall, low, high in points:
        marks.append(
            f'<line x1="{x(strength):.1f}" x2="{x(strength):.1f}" y1="{y(low):.1f}" '
            f'y2="{y(high):.1f}" stroke="#1f5fa8"/>'
            f'<circle cx="{x(strength):.1f}" cy="{y(fall):.1f}" r="3" fill="#1f5fa8"/>'
            f'<text x="{x(strength):.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{strength:g}'
            f'</text><text x="{x(strength) - 6:.1f}" y="{y(fall) + 4:.1f}" text-anchor="end">'
            f"{fall:.3g}</text>"
        )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(marks)}</svg>'
    )
    encoded = base64.b64encode(svg.encode()).decode()
    return f"![Fall of the metric under noise](data:image/svg+xml;base64,{encoded})"
