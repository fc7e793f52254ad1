"""The alert rules, judged by Prometheus' own tool on series that are made up."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, require

FOLDER = ROOT / "docker" / "prometheus"


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        require("docker", "there is no promtool: apt-get install prometheus")
    return found


@pytest.mark.parametrize(
    "command",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_itself_finds_the_rules_right(promtool: str, command: tuple[str, ...]) -> None:
    said = subprocess.run(
        [promtool, *command], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_is_tried_when_it_must_fire() -> None:
    alerts = re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    fired = re.findall(
        r"- alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:",
        (FOLDER / "alerts_test.yml").read_text(),
    )
    assert alerts
    assert set(alerts) == set(fired)


def test_the_rules_read_what_a_server_counts() -> None:
    from mlops_pipelines.serve.metrics import Metrics

    metrics = Metrics("churn", 1, "0" * 64)
    metrics.errors["log"] += 1
    metrics.request(200, 0.01)
    page = metrics.render(0, 0, 0)
    for name in set(re.findall(r"\b(?:mlops|process)_[a-z_]+", _expressions())):
        assert re.search(rf"^{name}[ {{]", page, re.MULTILINE), name
    assert 'kind="log"' in page


def _expressions() -> str:
    """The rules without what they say to people."""
    text = Path(FOLDER / "alerts.yml").read_text()
    return re.sub(r"^ +(?:#|summary|what_to_do).*$", "", text, flags=re.MULTILINE)
