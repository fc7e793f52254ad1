"""Which cron expressions a schedule may have."""

from __future__ import annotations

_CRON_NAMES = {
    3: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    4: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}
_CRON_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def is_cron(expression: str) -> bool:
    """Whether `expression` has the five fields of crontab(5), each within its bounds."""
    fields = expression.split()
    return len(fields) == 5 and all(
        _is_cron_field(field.lower(), *_CRON_BOUNDS[place], names=_CRON_NAMES.get(place, []))
        for place, field in enumerate(fields)
    )


def _is_cron_field(field: str, low: int, high: int, names: list[str]) -> bool:
    def number(text: str) -> int | None:
        if text in names:
            return names.index(text) + low
        return int(text) if text.isascii() and text.isdigit() else None

    for item in field.split(","):
        span, _, step = item.partition("/")
        # A longer step than the field is wide fires more often than its author means.
        if "/" in item and not 0 < (number(step) or 0) <= high:
            return False
        if span == "*":
            continue
        start, dash, end = span.partition("-")
        bounds = [number(start), number(end)] if dash else [number(start)]
        if any(bound is None or not low <= bound <= high for bound in bounds):
            return False
        if dash and bounds[0] > bounds[1]:  # type: ignore[operator]
            return False
    return True
