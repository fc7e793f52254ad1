"""`image`: what is served, started once to see that it answers."""

import dagster as dg

from mlops_pipelines.keys import asset_key
from mlops_pipelines.logs import step
from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.track import blocking, in_release_track
from mlops_pipelines.resources import MlflowResource, ProjectResource, StoreResource


def image_asset(declared: Declared) -> dg.AssetsDefinition:
    """The asset of this model."""
    spec = declared.spec
    key = asset_key(spec.name, "image")

    @dg.asset(
        **in_release_track(declared, "image", "security_report"),
        description="What is served. Target process runs the bundle as it is: no image is made.",
        kinds={"python"},
        check_specs=[
            blocking(
                declared, key, "serves", "Started, it answers real rows as it did in training."
            )
        ],
    )
    def image(
        context: dg.AssetExecutionContext,
        project: ProjectResource,
        mlflow: MlflowResource,
        store: StoreResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.release.bundle import build_bundle
        from mlops_pipelines.release.serves import serves
        from mlops_pipelines.release.signing import check
        from mlops_pipelines.train.registry import Registry

        version = int(context.partition_key)
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        with step(context.log, "bundle", model=spec.name, version=version, run=context.run.run_id):
            bundle = build_bundle(registry, store.open(), project.path, spec, version)
            signature = check(bundle.folder, bundle.digest)
        with step(
            context.log, "serves", model=spec.name, version=version, run=context.run.run_id
        ) as counted:
            result = serves(bundle.folder)
            counted["rows"] = result.rows
        context.log.info("made a bundle and no image: target process runs the bundle as it is")
        return dg.MaterializeResult(
            metadata={
                "version": version,
                "kind": "bundle (no image: target process)",
                "digest": bundle.digest[:16],
                "signature": signature,
                "size_bytes": bundle.size_bytes,
                "dagster/uri": store.open().uri(bundle.key),
                "seconds_to_ready": result.seconds_to_ready,
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="serves",
                    passed=result.passed,
                    description=result.sentence,
                    metadata={
                        "rows": result.rows,
                        "largest_difference": float(result.largest_difference),
                    },
                )
            ],
        )

    return image
