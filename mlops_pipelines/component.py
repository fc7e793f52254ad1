"""`MonitoredModel`: one declaration becomes the assets, checks, jobs and schedule of one model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import RootModel

from mlops_pipelines.errors import DeclarationError
from mlops_pipelines.explain.assets import record_assets
from mlops_pipelines.keys import asset_key, days_of, run_tags
from mlops_pipelines.monitor.assets import monitor_assets
from mlops_pipelines.project import Broken, Declared, declaration_file, read_file
from mlops_pipelines.release.assets import release_assets
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.train.assets import train_assets


class Declaration(RootModel[dict[str, Any]]):
    """The attributes as written; they are validated in `load`, where a mistake has its place."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The schema that editors and `dg utils inspect-component` show."""
        return ModelSpec.model_json_schema(*args, **kwargs)


class DeclarationScaffolder(dg.Scaffolder[Any]):
    """Writes a filled, commented declaration for `dg scaffold defs`."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write defs.yaml into the new folder."""
        name = request.target_path.name
        path = request.target_path / "defs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEMPLATE.format(name=name))


@dg.scaffold_with(DeclarationScaffolder)
@dataclass(frozen=True)
class MonitoredModel(dg.Component):
    """A model that is trained, gated, released, watched every night and rolled back.

    ```yaml
    type: mlops_pipelines.MonitoredModel
    attributes:
      name: churn
      task: binary_classification
      data:
        source: {csv: data/churn.csv}
        target: churned
      estimator:
        python: sklearn.ensemble:HistGradientBoostingClassifier
    ```
    """

    model: Declared | Broken

    @classmethod
    def get_model_cls(cls) -> type[RootModel[dict[str, Any]]]:
        """What Dagster validates before `load`: nothing, so that all mistakes are told at once."""
        return Declaration

    @classmethod
    def load(
        cls,
        attributes: Any,  # noqa: ARG003 - named by Dagster
        context: dg.ComponentLoadContext,
    ) -> MonitoredModel:
        """The model that the document at `context` declares, or the mistakes in it."""
        # Dagster has parsed YAML 1.1; the file is read again, as `mlops check` reads it.
        file, document = declaration_file(context.path), context.component_path.instance_key or 0
        assert file is not None
        sound, broken = read_file(context.project_root, file)
        for each in broken:
            if each.document == document:
                if os.environ.get("DAGSTER_IS_DEFS_VALIDATION_CLI"):
                    raise DeclarationError(each.mistakes)
                return cls(each)
        return cls(next(each for each in sound if each.document == document))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The model's definitions; a broken model is one asset that shows its mistakes."""
        if isinstance(self.model, Broken):
            return broken_defs(context.project_root, self.model)
        return model_defs(self.model)


def model_defs(declared: Declared) -> dg.Definitions:
    """Assets, checks, jobs and schedule of one sound declaration."""
    spec = declared.spec
    train = train_assets(declared)
    release = release_assets(declared)
    told = record_assets(declared)
    monitor = monitor_assets(declared)
    jobs = [
        _job(spec, "train", train),
        _job(spec, "release", [*release, *told]),
        _job(spec, "monitor", monitor),
        dg.define_asset_job(
            f"{spec.name}_rollback",
            selection=dg.AssetSelection.assets(
                asset_key(spec.name, "deployment"), asset_key(spec.name, "record")
            ),
            description="Puts an older version back in front of the traffic.",
            tags=dict(run_tags(spec.name, "rollback")),
        ),
    ]
    return dg.Definitions(
        assets=[*train, *release, *told, *monitor],
        jobs=jobs,
        schedules=[_schedule(spec, jobs[2])],
    )


def broken_defs(root: Path, broken: Broken) -> dg.Definitions:
    """One asset in the place of a model whose declaration has mistakes."""
    lines = "\n".join(f"- `{mistake}`" for mistake in broken.mistakes)
    # By folder and document, which are unique where a broken name may not be.
    number = f"_{broken.document + 1}" if broken.document else ""
    what = "loading" if broken.document is None else f"declaration{number}"
    path = (*broken.folder.relative_to(root / "assets").parts, what)
    return dg.Definitions(
        assets=[
            dg.AssetSpec(
                dg.AssetKey(path),
                group_name=broken.name if broken.name.isidentifier() else None,
                kinds={"yaml"},
                tags={"mlops/broken": "true"},
                description=f"**{broken.file} is not loaded as it is.**\n\n{lines}",
            )
        ]
    )


def _job(spec: ModelSpec, track: str, assets: Sequence[dg.AssetsDefinition | dg.AssetSpec]) -> Any:
    keys = [asset.key for asset in assets if isinstance(asset, dg.AssetsDefinition)]
    return dg.define_asset_job(
        f"{spec.name}_{track}",
        selection=dg.AssetSelection.assets(*keys),
        description=f"The {track} track of {spec.name}.",
        tags=dict(run_tags(spec.name, track)),
    )


def _schedule(spec: ModelSpec, job: Any) -> dg.ScheduleDefinition:
    days = days_of(spec)
    delays = sorted({1, 1 + spec.monitor.label_delay_days})

    @dg.schedule(
        name=f"{spec.name}_nightly",
        job=job,
        cron_schedule=spec.monitor.schedule,
        execution_timezone=spec.monitor.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Yesterday; and the day whose labels are in by now, where they take days.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> Any:
        night = context.scheduled_execution_time
        for delay in delays:
            day = (night - timedelta(days=delay)).strftime("%Y-%m-%d")
            if days.has_partition_key(day):
                yield dg.RunRequest(
                    run_key=f"{day}-after-{delay}",
                    partition_key=day,
                    tags=dict(run_tags(spec.name, "monitor")),
                )

    return nightly


TEMPLATE = """\
# Validate with: mlops check
type: mlops_pipelines.MonitoredModel

attributes:
  name: {name}
  description: What is predicted, from what.
  task: binary_classification      # multiclass_classification | regression
  data:
    # or csv: data/{name}.csv | parquet: data/{name}.parquet
    # or sql: {{url: {{env: NAME}}, query: SELECT ...}}
    source: {{python: "sklearn.datasets:load_breast_cancer"}}
    target: target                 # the column to predict
    # event_time: observed_at      # splits and windows then follow time
    # segments: [site]             # every metric also per value of these columns
  estimator:
    python: "sklearn.ensemble:HistGradientBoostingClassifier"
    params: {{learning_rate: 0.1}}
  gates:
    - {{metric: roc_auc, at_least: 0.7}}
    - {{metric: roc_auc, within_champion: 0.01}}
  monitor:
    schedule: "0 2 * * *"
  react:
    rollback: {{mode: recommend, drop: 0.05}}   # automatic acts while you sleep
"""
