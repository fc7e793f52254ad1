"""A project of its own with both UIs open, and a person before them: a real browser."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Locator, Page, expect

MODEL = "breast_cancer"
MLOPS = str(Path(sys.executable).parent / "mlops")
RUN_SECONDS = 180
"""How long a run may take on a busy machine: a process of its own, and its imports."""


@dataclass
class Desk:
    """Where the UIs of one project answer, and the browser's page that looks at them."""

    root: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[str]
    dagster: str
    mlflow: str
    page: Page

    def mlops(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in this project, as a process of its own."""
        return subprocess.run(
            [MLOPS, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

    def stop(self) -> int:
        """Press Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def open(self, path: str) -> Page:
        """A page of the Dagster UI."""
        self.page.goto(self.dagster + path)
        return self.page

    def asset(self, name: str, view: str = "overview") -> Page:
        """The page of one asset of the model."""
        return self.open(f"/assets/{MODEL}/{name}?view={view}")

    def until(self, path: str, text: str) -> Page:
        """The page of `path`, opened again and again until it says `text`."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            found = self.open(path).get_by_text(text).first
            try:
                expect(found).to_be_visible(timeout=4_000)
            except AssertionError:
                continue
            return self.page
        raise AssertionError(f"{path} never said {text!r}")

    def switch(self, automation: str) -> Locator:
        """The switch of a schedule or sensor, checked while it runs."""
        page = self.open("/automation")
        named = page.get_by_text(automation, exact=True)
        return (
            page.locator('[class*="ListItem_listItem__"]').filter(has=named).locator("input").last
        )

    def launch_job(self, track: str, choose: Callable[[Locator], None] | None = None) -> str:
        """Materialize all assets of a job from its page, and wait; the run's id."""
        page = self.open(f"/locations/mlops_pipelines/jobs/{MODEL}_{track}")
        page.get_by_role("button", name=re.compile("Materialize all")).click()
        return self._launched(choose)

    def materialize(self, name: str, choose: Callable[[Locator], None] | None = None) -> str:
        """Materialize one asset from its page, and wait; the run's id."""
        self.asset(name).get_by_role("button", name=re.compile("Materialize")).first.click()
        return self._launched(choose)

    def _launched(self, choose: Callable[[Locator], None] | None) -> str:
        if choose is not None:
            dialog = self.page.get_by_role("dialog").filter(has_text="Launch runs to materialize")
            choose(dialog)
            dialog.get_by_role("button", name="Launch 1 run").click()
        toast = self.page.locator(
            'a[href*="/runs/"]', has_text=re.compile("View", re.IGNORECASE)
        ).first
        toast.wait_for(timeout=60_000)
        run = str(toast.get_attribute("href")).split("/runs/")[1].split("?")[0]
        self.succeeds(run)
        return run

    def succeeds(self, run: str) -> None:
        """Wait on the page of a run until it says how it ended, which must be well."""
        page = self.open(f"/runs/{run}")
        ended = page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
        expect(ended).to_be_visible(timeout=RUN_SECONDS * 1000)
        assert ended.inner_text() == "Success", page.locator("body").inner_text()[-3000:]

    def address(self) -> str:
        """Where the model answers, as the page of its deployment says."""
        link = self.asset("deployment").locator('a[href^="http://127.0.0.1:"]').first
        return str(link.get_attribute("href"))

    def mlflow_api(self, path: str, **body: Any) -> dict[str, Any]:
        """What MLflow's own interface answers; tells runs apart, whose pages are then opened."""
        response = httpx.post(f"{self.mlflow}/api/2.0/mlflow/{path}", json=body, timeout=30)
        response.raise_for_status()
        return dict(response.json())


def version(number: int) -> Callable[[Locator], None]:
    """Choose the partition of one model version in the launch dialog."""

    def choose(dialog: Locator) -> None:
        dialog.get_by_text("Select a partition or create one").click()
        found = dialog.page.locator("[data-radix-popper-content-wrapper]")
        found.get_by_text(str(number), exact=True).first.click()
        dialog.get_by_text("Partition selection").click(force=True)
        dialog.get_by_text("Partition selection").click(force=True)

    return choose


def today(dialog: Locator) -> None:
    """Choose the last day in the launch dialog."""
    dialog.get_by_role("button", name="Latest", exact=True).click()
