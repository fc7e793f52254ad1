"""`performance`: how the day's rows turned out."""

from typing import TYPE_CHECKING

import dagster as dg

from mlops_pipelines import record
from mlops_pipelines.monitor.assets.track import WARN, Day, in_monitor_track, of_day, unknown
from mlops_pipelines.project import Declared
from mlops_pipelines.resources import MlflowResource, StoreResource
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.tasks import IN_TARGET_UNIT
from mlops_pipelines.train.assets.shown import figures, mlflow_link

if TYPE_CHECKING:
    from mlops_pipelines.monitor.fairness import Fairness

_FAIR = "No gap between groups is clearly beyond its declared bound."


def performance_asset(declared: Declared) -> dg.AssetsDefinition:
    """The asset of this model."""
    spec = declared.spec

    @dg.asset(
        **in_monitor_track(declared, "performance", "labels"),
        description="How well the labelled rows were predicted, and whether the previous version "
        "would have done better on them.",
        kinds={"scikitlearn"},
        check_specs=[
            of_day(declared, "performance", "no_degradation", _not_fallen(spec)),
            *([of_day(declared, "performance", "fair", _FAIR)] if spec.fairness_gates else []),
        ],
    )
    def performance(
        context: dg.AssetExecutionContext, mlflow: MlflowResource, store: StoreResource
    ) -> dg.MaterializeResult:
        from functools import partial

        from mlops_pipelines.monitor.coverage import day_coverage
        from mlops_pipelines.monitor.fairness import assess_fairness
        from mlops_pipelines.monitor.labels import labelled_rows
        from mlops_pipelines.monitor.night_estimate import estimate_night
        from mlops_pipelines.monitor.performance import assess
        from mlops_pipelines.monitor.predictions import day_rows
        from mlops_pipelines.monitor.several_days import with_days_before
        from mlops_pipelines.monitor.usual import earlier_nights, usual
        from mlops_pipelines.release.bundle import open_predictor
        from mlops_pipelines.train.snapshot import load_snapshot

        at = Day.opened(spec, context, mlflow, store)
        rows = labelled_rows(at.store, spec.name, at.day)
        asked = day_rows(at.store, spec.name, at.day)
        version = at.judged(asked)
        if version is None:
            checks = ["no_degradation", *(["fair"] if spec.fairness_gates else [])]
            why = "insufficient_data: nobody asked"
            return dg.MaterializeResult(
                metadata={"labelled": 0}, check_results=[unknown(name, why) for name in checks]
            )
        previous = at.compared_with(version)
        found_version = at.registry.version(spec.name, version)
        with (
            at.step("performance", version=version) as counted,
            at.registry.night(spec.name, at.day, version) as night,
        ):
            snapshot = load_snapshot(at.store, spec.name, found_version.tags[record.SNAPSHOT])
            predictor = (
                open_predictor(at.registry, at.store, spec.name, previous) if previous else None
            )
            covered = day_coverage(spec, asked, rows, version)
            days = 1
            if covered.own.rows < (enough := spec.monitor.min_rows):
                # So few ask that no day alone could ever be judged.
                read = partial(day_rows, at.store, spec.name)
                asked, _ = with_days_before(read, at.day, version, enough)
                read = partial(labelled_rows, at.store, spec.name)
                rows, days = with_days_before(read, at.day, version, enough)
            nights = earlier_nights(at.registry, spec.name, version, at.day, spec.main_metric)
            estimated = estimate_night(
                at.registry,
                spec,
                at.day,
                version,
                asked,
                labelled=rows,
                predictor=predictor,
                previous=previous,
            )
            found = assess(
                spec,
                rows,
                version,
                found_version.metrics,
                predictor,
                previous,
                classes=snapshot.classes,
                estimated=estimated,
                coverage=covered,
                earlier=usual(nights, at.day),
                days=days,
            )
            fairness = assess_fairness(spec, rows, version, classes=snapshot.classes)
            if fairness is not None:
                night.log_metrics(fairness.metrics())
            night.log(found.metrics(), tags={record.VERDICTS["performance"]: found.status})
            counted["rows"] = found.labelled
        return dg.MaterializeResult(
            metadata={
                "status": found.status,
                "version": version,
                "labelled": found.labelled,
                "details": dg.MetadataValue.md(found.markdown()),
                "basis": found.basis,
                "estimates": dg.MetadataValue.md(
                    estimated.markdown() if estimated else "this version was trained without any"
                ),
                "coverage_by_version": dg.MetadataValue.md(
                    found.coverage.markdown() if found.coverage else ""
                ),
                "error_slices": dg.MetadataValue.md(found.errors.markdown()),
                "worst_rows": dg.MetadataValue.md(found.worst_markdown()),
                **({} if fairness is None else {"gaps": dg.MetadataValue.md(fairness.markdown())}),
                **figures(found.metrics()),
                "mlflow_run": mlflow_link(mlflow, "beside other nights", f"runs/{night.run_id}"),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="no_degradation",
                    passed=found.status != "alarm",
                    severity=dg.AssetCheckSeverity.ERROR,
                    description=found.sentence,
                    metadata={
                        **at.facts(version, found.status),
                        "basis": found.basis,
                        "provisional": found.provisional,
                        "previous_version": previous or 0,
                        "previous_clearly_better": found.previous_clearly_better,
                        **figures(found.metrics()),
                        "evidence": dg.MetadataValue.json(found.evidence()),
                    },
                ),
                *([_fair(at, fairness)] if fairness and spec.fairness_gates else []),
            ],
        )

    return performance


def _fair(at: Day, found: "Fairness") -> dg.AssetCheckResult:
    """A check of its own: a wide gap alone does not roll a version back."""
    return dg.AssetCheckResult(
        check_name="fair",
        passed=found.status != "alarm",
        severity=WARN,
        description=found.sentence,
        metadata={
            **at.facts(found.version, found.status),
            "evidence": dg.MetadataValue.json(found.evidence()),
        },
    )


def _not_fallen(spec: ModelSpec) -> str:
    if spec.main_metric in IN_TARGET_UNIT:
        return f"{spec.main_metric} has not risen by more than {spec.main_drop:.0%}."
    return f"{spec.main_metric} is not worse by more than {spec.main_drop:g}."
