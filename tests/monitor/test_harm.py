"""Drift without harm is a warning, with harm an alarm."""

from __future__ import annotations

from mlops_pipelines.measure.attribution import ColumnHarm
from mlops_pipelines.monitor.harm import harm

COLUMNS = (
    ColumnHarm("age", 0.08, 0.8, "40 to 60"),
    ColumnHarm("site", 0.02, 0.2, "'north|west'"),
    ColumnHarm("idle", -0.001, 1.0, "missing"),
)


def test_each_case() -> None:
    unharmed = harm("alarm", ["idle"], "ok", "estimated", COLUMNS)
    assert (unharmed.level, unharmed.sentence) == (
        "warning",
        "idle drifted; estimated performance is unharmed",
    )
    harmed = harm("alarm", ["idle", "age", "site"], "alarm", "realised", COLUMNS)
    assert (harmed.level, harmed.sentence) == (
        "alarm",
        "3 columns drifted; realised performance fell, most with age (80%), site (20%)",
    )
    innocent = harm("alarm", ["idle"], "alarm", "realised", COLUMNS)
    assert innocent.sentence.endswith("fell, but not because of what drifted")
    unknown = harm("alarm", ["age"], "insufficient_data", "estimated", COLUMNS)
    assert (unknown.level, "not known yet" in unknown.sentence) == ("unknown", True)
    assert harm("ok", [], "alarm", "realised", COLUMNS).level == "none"
    assert harm("insufficient_data", [], "ok", "realised", ()).level == "unknown"
    assert "north\\|west" in harmed.markdown() and "+0.08" in harmed.markdown()
    assert harm("ok", [], "ok", "realised", ()).markdown() == "no column drifted"
