"""Takes the pictures of the README again, from the UIs that show a demo's state.

    mlops demo && mlops ui          # in one terminal
    python docs/pictures.py         # in another; --dagster and --mlflow name other addresses

Needs chromium and playwright; writes three PNGs beside this file, at most 1,400 pixels wide.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
MODEL = "breast_cancer"
WIDTH = 1400
NODE = (330, 215)
"""Width and height of an asset in the graph at full size, with its kinds below it."""


def main() -> None:
    """Take all three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dagster", default="http://127.0.0.1:3000")
    parser.add_argument("--mlflow", default="http://127.0.0.1:5000")
    chosen = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        page = browser.new_page()
        save("asset-graph", asset_graph(page, chosen.dagster))
        save("drift-report", drift_report(page, chosen.mlflow))
        save("mlflow-runs", mlflow_runs(page, chosen.mlflow))
        browser.close()


def asset_graph(page: Page, dagster: str) -> Image.Image:
    """The graph at full size, its three tracks one below the other."""
    page.set_viewport_size({"width": 5000, "height": 900})
    page.goto(f"{dagster}/locations/mlops_pipelines/asset-groups/{MODEL}/lineage")
    rows = (
        ("retraining_request", "model_version", "model", "model"),
        ("evaluation", "deployment", "image", "image"),
        ("prediction_log", "performance", "drift_report", "service_health"),
    )
    page.get_by_text("Passed").first.wait_for()
    page.wait_for_timeout(3000)
    whole = shot(page)
    parts = []
    for names in rows:
        left, right, top, bottom = (place(page, name) for name in names)
        box = (left[0] - 20, top[1] - 20, right[0] + NODE[0], bottom[1] + NODE[1])
        parts.append(whole.crop(box))
    width = max(part.width for part in parts)
    stacked = Image.new("RGB", (width, sum(part.height for part in parts)), "white")
    above = 0
    for part in parts:
        stacked.paste(part, (0, above))
        above += part.height
    return stacked


def place(page: Page, asset: str) -> tuple[int, int]:
    """The upper left corner of an asset's name."""
    box = page.get_by_text(asset, exact=True).first.bounding_box()
    assert box is not None, asset
    return int(box["x"]) - 25, int(box["y"]) - 8


def drift_report(page: Page, mlflow: str) -> Image.Image:
    """Our verdict above Evidently's table, on the night of the upstream fault."""
    runs = nights(mlflow)
    run = runs[sorted(runs)[1]]
    asked = {"run_id": run, "path": "reports"}
    listed = httpx.get(f"{mlflow}/api/2.0/mlflow/artifacts/list", params=asked).json()
    asked = {"run_uuid": run, "path": listed["files"][0]["path"]}
    report = httpx.get(f"{mlflow}/get-artifact", params=asked, timeout=60)
    page.set_viewport_size({"width": WIDTH, "height": 900})
    with tempfile.NamedTemporaryFile(suffix=".html") as file:
        file.write(report.content)
        file.flush()
        page.goto(Path(file.name).as_uri())
        page.get_by_text("Each column, the farthest first").wait_for()
        page.wait_for_timeout(2000)
        return shot(page)


def mlflow_runs(page: Page, mlflow: str) -> Image.Image:
    """Trainings and nights of the model as charts, side by side."""
    page.set_viewport_size({"width": WIDTH, "height": 760})
    shown = "workflowType=machine_learning&compareRunsMode=CHART"
    page.goto(f"{mlflow}/#/experiments/{experiment(mlflow)}/runs?{shown}")
    page.get_by_role("button", name="Close").first.click()
    page.get_by_text("average_precision", exact=True).first.wait_for()
    page.wait_for_timeout(3000)
    return shot(page)


def experiment(mlflow: str) -> str:
    """The experiment of the model."""
    body = {"filter": f"name = '{MODEL}'", "max_results": 1}
    found = httpx.post(f"{mlflow}/api/2.0/mlflow/experiments/search", json=body).json()
    return str(found["experiments"][0]["experiment_id"])


def nights(mlflow: str) -> dict[str, str]:
    """The runs of all nights by name."""
    body = {"experiment_ids": [experiment(mlflow)]}
    found = httpx.post(f"{mlflow}/api/2.0/mlflow/runs/search", json=body).json()
    named = {run["info"]["run_name"]: run["info"]["run_id"] for run in found["runs"]}
    return {name: run for name, run in named.items() if name.startswith("night")}


def shot(page: Page) -> Image.Image:
    """What the browser shows."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def save(name: str, picture: Image.Image) -> None:
    """As a small PNG."""
    if picture.width > WIDTH:
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    # The other methods lose the few red and amber pixels that say what failed.
    small = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
