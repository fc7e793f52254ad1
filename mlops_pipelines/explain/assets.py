"""The record of each version as an asset: `<model>/record`, after everything that it tells of."""

from collections.abc import Sequence

import dagster as dg

from mlops_pipelines.keys import asset_key, shared, versions_of
from mlops_pipelines.logs import step
from mlops_pipelines.project import Declared
from mlops_pipelines.resources import MlflowResource, ProjectResource, StoreResource
from mlops_pipelines.train.assets.shown import mlflow_link

TELLS_OF = ("evaluation", "security_report", "image", "deployment")


def record_assets(declared: Declared) -> Sequence[dg.AssetsDefinition]:
    """The asset that publishes a version's record; each partition is one model version."""
    spec = declared.spec

    @dg.asset(
        key=asset_key(spec.name, "record"),
        deps=[asset_key(spec.name, name) for name in TELLS_OF],
        partitions_def=versions_of(spec.name),
        # Also for a version that a gate refused: why is told on its page.
        automation_condition=_when_more_is_known(),
        description="Everything behind the version, as JSON and as a page.",
        kinds={"html"},
        **shared(spec),
    )
    def record(
        context: dg.AssetExecutionContext,
        project: ProjectResource,
        mlflow: MlflowResource,
        store: StoreResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.explain.books import open_books
        from mlops_pipelines.explain.card import attach_card
        from mlops_pipelines.explain.event_log import EventLog
        from mlops_pipelines.explain.publish import publish
        from mlops_pipelines.explain.sources import Sources
        from mlops_pipelines.project import Project
        from mlops_pipelines.train.registry import Registry

        version = int(context.partition_key)
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        events = EventLog.of(Project.find(project.path))
        sources = Sources(open_books(mlflow.tracking_uri), events, store.open())
        with step(context.log, "record", model=spec.name, version=version, run=context.run.run_id):
            done = publish(sources, registry, spec.name, version, spec.main_metric)
            attach_card(sources, registry, spec, version)
        found = done.record
        return dg.MaterializeResult(
            metadata={
                "version": version,
                "page": mlflow_link(mlflow, "the record", done.artifact),
                "gates": found.gates.verdict,
                "not_on_record": dg.MetadataValue.json(found.missing),
                "report": dg.MetadataValue.path(done.uri),
            }
        )

    return [record]


def _when_more_is_known() -> dg.AutomationCondition:
    condition = dg.AutomationCondition
    return (
        condition.any_deps_updated().since_last_handled()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
    ).with_label("more_is_known")
