"""The main metric of the last nights beside what it was on the holdout, as an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mlops_pipelines.explain.nights import sentences
from mlops_pipelines.explain.record_schema import Night, Nights

WIDTH, HEIGHT = 880, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 14, 24


def told(nights: Nights) -> str:
    """What stands above the picture: how many nights, and what was worst about them."""
    return " ".join(f"{each[0].upper()}{each[1:]}." for each in sentences(nights))


def picture(nights: Sequence[Night], main: str, baseline: float | None) -> str:
    """A point per night with its interval; empty where fewer than two nights had labels."""
    judged = [(place, night) for place, night in enumerate(nights) if main in night.metrics]
    if len(judged) < 2:
        return ""
    ends = [
        night.metrics[name]
        for _, night in judged
        for name in (main, f"{main}_low", f"{main}_high")
        if name in night.metrics
    ] + ([] if baseline is None else [baseline])
    low, high = min(ends), max(ends)
    margin = (high - low) * 0.08 or abs(high) * 0.01 or 1.0
    low, high = low - margin, high + margin

    def x(place: int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (place + 0.5) / len(nights)

    def y(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11" role="img">'
        f"<title>{escape(main)} by night</title>"
    ]
    for value in (low + margin, high - margin):
        parts.append(_line(_LEFT, WIDTH - _RIGHT, y(value), y(value), "#e3e8ec"))
        parts.append(_text(_LEFT - 6, y(value) + 4, f"{value:.4g}", "end"))
    if baseline is not None:
        dashed = ' stroke-dasharray="5 3"'
        parts.append(_line(_LEFT, WIDTH - _RIGHT, y(baseline), y(baseline), "#44525f", dashed))
        parts.append(_text(WIDTH - _RIGHT, y(baseline) - 4, "on the holdout", "end"))
    for place, night in judged:
        values = night.metrics
        if f"{main}_low" in values and f"{main}_high" in values:
            ends_ = y(values[f"{main}_low"]), y(values[f"{main}_high"])
            parts.append(_line(x(place), x(place), *ends_, "#7f9bb3"))
        colour = "#b02a1d" if night.verdicts.get("performance") == "alarm" else "#2f6690"
        parts.append(
            f'<circle cx="{x(place):.1f}" cy="{y(values[main]):.1f}" r="3.2" fill="{colour}"/>'
        )
    for place in {0, len(nights) - 1}:
        anchor = "start" if place == 0 else "end"
        at = _LEFT if place == 0 else WIDTH - _RIGHT
        parts.append(_text(at, HEIGHT - 6, nights[place].day, anchor))
    return "".join([*parts, "</svg>"])


def _line(x1: float, x2: float, y1: float, y2: float, colour: str, more: str = "") -> str:
    return (
        f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="1.4"{more}/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="#5a6875" text-anchor="{anchor}">{escape(text)}</text>'
    )
