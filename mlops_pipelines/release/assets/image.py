"""`image`: what is served, started once to see that it answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_pipelines import environment
from mlops_pipelines.keys import asset_key
from mlops_pipelines.logs import step
from mlops_pipelines.project import Declared
from mlops_pipelines.release.assets.track import blocking, in_release_track
from mlops_pipelines.resources import (
    MlflowResource,
    ProjectResource,
    StoreResource,
    TargetResource,
)

if TYPE_CHECKING:
    from mlops_pipelines.release.bundle import Bundle
    from mlops_pipelines.release.images.version_image import VersionImage
    from mlops_pipelines.release.serves import Serves
    from mlops_pipelines.train.registry import Registry


def image_asset(declared: Declared) -> dg.AssetsDefinition:
    """The asset of this model."""
    spec = declared.spec
    key = asset_key(spec.name, "image")

    @dg.asset(
        **in_release_track(declared, "image", "security_report"),
        description="What is served: an image, or with target process the bundle as it is.",
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
        target: TargetResource,
    ) -> dg.MaterializeResult:
        from mlops_pipelines.release.bundle import build_bundle
        from mlops_pipelines.release.serves import serves
        from mlops_pipelines.release.signing import check
        from mlops_pipelines.train.registry import Registry

        version = int(context.partition_key)
        about = {"model": spec.name, "version": version, "run": context.run.run_id}
        registry = Registry(mlflow.tracking_uri, mlflow.artifact_root)
        with step(context.log, "bundle", **about):
            bundle = build_bundle(registry, store.open(), project.path, spec, version)
            signature = check(bundle.folder, bundle.digest)
        settings = target.parsed
        if isinstance(settings, environment.ProcessTarget):
            with step(context.log, "serves", **about) as counted:
                result = serves(bundle.folder)
                counted["rows"] = result.rows
            context.log.info("made a bundle and no image: target process runs the bundle as it is")
            shown: dict[str, Any] = {
                "kind": "bundle (no image: target process)",
                "digest": bundle.digest[:16],
                "size_bytes": bundle.size_bytes,
            }
        else:
            home = Path(target.home).parent
            shown, result = _imaged(context, registry, settings, home, bundle, about)
        return dg.MaterializeResult(
            metadata={
                "version": version,
                **shown,
                "signature": signature,
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


def _imaged(
    context: dg.AssetExecutionContext,
    registry: "Registry",
    settings: environment.DockerTarget | environment.KubernetesTarget,
    home: Path,
    bundle: "Bundle",
    about: dict[str, Any],
) -> tuple[dict[str, Any], "Serves"]:
    """What is shown of the version's image, and how it answered."""
    from contextlib import closing

    from mlops_pipelines.release.images.engine import connect
    from mlops_pipelines.release.images.of_version import image_of_version
    from mlops_pipelines.release.images.push import push_image
    from mlops_pipelines.release.images.try_image import serves_image

    with closing(connect()) as client:
        with step(context.log, "image", **about) as counted:
            made = image_of_version(
                client, registry, settings, home, bundle.folder, bundle.model, bundle.version
            )
            counted["built"] = made.built
        shown = _shown(made, bundle)
        network = settings.network if isinstance(settings, environment.DockerTarget) else None
        with step(context.log, "serves", **about) as counted:
            result = serves_image(client, made, bundle.folder, network)
            counted["rows"] = result.rows
        if isinstance(settings, environment.KubernetesTarget) and result.passed:
            from mlops_pipelines.release.targets.kubernetes.served import image_name

            name = image_name(settings.repository, bundle.model, bundle.version, bundle.digest)
            with step(context.log, "push", **about):
                shown |= {"pushed": name, "pushed_digest": push_image(client, made.id, name)}
    return shown, result


def _shown(made: "VersionImage", bundle: "Bundle") -> dict[str, Any]:
    rows = "".join(f"| {what} | {size / 1e6:,.1f} |\n" for what, size in made.layers)
    return {
        "kind": "image",
        "digest": made.id,
        "tag": made.tag,
        "bundle": bundle.digest[:16],
        "size_bytes": made.size_bytes,
        "own_bytes": made.own_bytes,
        "layers": dg.MetadataValue.md(f"| layer | MB |\n|---|--:|\n{rows}"),
        "runtime": made.runtime,
        "build": "built" if made.built else "found",
        "build_seconds": made.seconds,
    }
