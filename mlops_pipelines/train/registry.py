"""The book of versions: every training and every night as an MLflow run, every model registered."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.environment import shown_uri, with_driver
from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.train.run import PROCESS, Run, finishing, sampling, this_process, was_killed
from mlops_pipelines.train.snapshot import Snapshot
from mlops_pipelines.train.tracking import connect, told

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion

    from mlops_pipelines.train.fit import Fitted


@dataclass(frozen=True)
class Version:
    """One registered version of a model, with what its training run recorded.

    `tags` are those of the run and, over them, of the version; `metrics` holds the last value of
    each; `aliases` may contain record.CHAMPION or record.PREVIOUS.
    """

    model: str
    version: int
    run_id: str
    created: datetime
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    aliases: tuple[str, ...]


class Registry:
    """MLflow at `tracking_uri`; experiments made here keep artifacts under `artifact_root`.

    An empty `artifact_root` leaves that to the server. Nothing is imported or opened before the
    first call. Every method raises TrackingError where MLflow is down or refuses, and
    NotFoundError where it has no such model or version.
    """

    def __init__(self, tracking_uri: str, artifact_root: str = "") -> None:
        self.tracking_uri = with_driver(tracking_uri)
        self.artifact_root = artifact_root
        self._bases: dict[str, str] = {}

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self.tracking_uri)

    @cached_property
    def _downloads(self) -> Path:
        folder = mkdtemp(prefix="mlops-artifacts-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    @contextmanager
    def training(self, model: str, tags: Mapping[str, Any] | None = None) -> Iterator[Run]:
        """A new run of `model`'s experiment, finished whatever happens: FAILED on an exception.

        A run whose process was killed is closed (KILLED) when the next training begins.
        """
        experiment = self._experiment(model)
        with self._told(f"starting a training run of {model}"):
            self._close_killed(experiment)
            run = self._client.create_run(
                experiment,
                run_name="training",
                tags={
                    record.MODEL: model,
                    record.KIND: "training",
                    PROCESS: this_process(),
                    **{name: str(value) for name, value in (tags or {}).items()},
                },
            )
        opened = Run(self._client, self.tracking_uri, model, run.info.run_id, experiment)
        with finishing(opened), sampling(self.tracking_uri, opened.run_id):
            yield opened

    @contextmanager
    def night(self, model: str, day: str, version: int) -> Iterator[Run]:
        """The one run of (`model`, `day`, `version`); asked for again, it is opened again."""
        experiment = self._experiment(model)
        with self._told(f"opening the night {day} of {model}"):
            found = self._client.search_runs(
                [experiment],
                f"tags.`{record.KIND}` = 'evaluation' and tags.`{record.DAY}` = '{day}' "
                f"and tags.`{record.VERSION}` = '{version}'",
                max_results=1,
                order_by=["attributes.start_time ASC"],
            )
            if found:
                run_id = found[0].info.run_id
                self._client.update_run(run_id, status="RUNNING")
                self._client.set_tag(run_id, PROCESS, this_process())
            else:
                tags = {
                    record.MODEL: model,
                    record.KIND: "evaluation",
                    record.DAY: day,
                    record.VERSION: str(version),
                    PROCESS: this_process(),
                }
                name = f"night {day}, version {version}"
                run_id = self._client.create_run(experiment, run_name=name, tags=tags).info.run_id
        with finishing(Run(self._client, self.tracking_uri, model, run_id, experiment)) as opened:
            yield opened

    def nights_tagged(self, model: str, version: int, tag: str) -> dict[str, str]:
        """What `tag` says of each night of the version that has it, by day."""
        with self._told(f"reading the nights of {model} version {version}"):
            experiment = self._client.get_experiment_by_name(model)
            if experiment is None:
                return {}
            found: dict[str, str] = {}
            token = None
            while token != "":
                page = self._client.search_runs(
                    [experiment.experiment_id],
                    f"tags.`{record.KIND}` = 'evaluation' and tags.`{record.VERSION}` = "
                    f"'{version}' and tags.`{tag}` LIKE '%'",
                    max_results=1000,
                    page_token=token,
                )
                found |= {run.data.tags[record.DAY]: run.data.tags[tag] for run in page}
                token = page.token or ""
        return found

    def log_version(
        self,
        run: Run,
        fitted: Fitted,
        snapshot: Snapshot,
        suite: Mapping[str, Any],
        reference: Reference,
        provenance: record.Provenance,
        description: str,
    ) -> int:
        """Write everything behind `fitted` into `run`, register it, and return its version.

        The reference (of the training split) and the suite are kept as reference.npz, profile.json
        and suite.json.
        """
        from mlops_pipelines.train.version_files import log_model, log_run

        champion = self.champion(run.model)
        tags = {
            **provenance.tags(),
            record.MODEL: run.model,
            record.TASK: snapshot.task,
            record.SNAPSHOT: snapshot.digest,
            record.PARENT_VERSION: "" if champion is None else str(champion),
            record.TRUSTED_TYPES: ",".join(fitted.trusted_types),
        }
        with self._told(f"registering a version of {run.model}"):
            model_id, location = log_model(self._client, run, fitted, snapshot, tags)
            log_run(self._client, run, fitted, snapshot, suite, reference, tags, model_id)
            if not self._client.search_registered_models(f"name = '{run.model}'", max_results=1):
                self._create_model(run.model, description)
            registered = self._client.create_model_version(
                run.model,
                source=self._source(model_id, location),
                run_id=run.run_id,
                tags=tags,
                description=description,
                model_id=model_id,
            )
            version = int(registered.version)
            run.log(tags={record.VERSION: version})
            self._client.update_run(run.run_id, name=f"version {version}")
        return version

    def version(self, model: str, version: int) -> Version:
        """Version `version` of `model`."""
        with self._told(f"reading version {version} of {model}"):
            found = self._client.get_model_version(model, str(version))
            run = self._client.get_run(str(found.run_id))
        return _version(found, run, tuple(sorted(found.aliases)))

    def versions(self, model: str) -> tuple[Version, ...]:
        """All versions of `model`, newest first; none where it was never trained."""
        with self._told(f"reading the versions of {model}"):
            found = list(self._pages(self._client.search_model_versions, f"name = '{model}'"))
            experiment = self._client.get_experiment_by_name(model)
            trained = f"tags.`{record.KIND}` = 'training'"
            runs: dict[str, MlflowRun] = {}
            if found and experiment is not None:
                for run in self._pages(
                    lambda filter_string, **page: self._client.search_runs(
                        [experiment.experiment_id], filter_string, **page
                    ),
                    trained,
                ):
                    runs[run.info.run_id] = run
            aliases = self._aliases(model) if found else {}
            listed = [
                _version(
                    entry,
                    runs.get(entry.run_id) or self._client.get_run(str(entry.run_id)),
                    tuple(sorted(a for a, n in aliases.items() if n == int(entry.version))),
                )
                for entry in found
            ]
        return tuple(sorted(listed, key=lambda entry: -entry.version))

    def models(self) -> list[str]:
        """The names of all registered models, sorted."""
        with self._told("reading the models"):
            found = self._pages(self._client.search_registered_models, None)
            return sorted(entry.name for entry in found)

    def champion(self, model: str) -> int | None:
        """The version that serves, if there is one."""
        return self._alias(model, record.CHAMPION)

    def previous(self, model: str) -> int | None:
        """The version that served before the champion, if there is one."""
        return self._alias(model, record.PREVIOUS)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let `alias` name `version`, and no other."""
        with self._told(f"setting alias {alias} of {model}"):
            self._client.set_registered_model_alias(model, alias, str(version))

    def drop_alias(self, model: str, alias: str) -> None:
        """Let `alias` name no version."""
        with self._told(f"dropping alias {alias} of {model}"):
            self._client.delete_registered_model_alias(model, alias)

    def tag(self, model: str, version: int, tags: Mapping[str, Any]) -> None:
        """Set `tags` on version `version` of `model`, and on its training run."""
        with self._told(f"tagging version {version} of {model}"):
            run_id = str(self._client.get_model_version(model, str(version)).run_id)
            for name, value in tags.items():
                self._client.set_model_version_tag(model, str(version), name, str(value))
        Run(self._client, self.tracking_uri, model, run_id, "").log(tags=tags)

    def fetch(self, model: str, version: int, path: str) -> Path:
        """The file or folder `path` of a version on this machine, such as `model/model.skops`.

        Local artifacts are not copied; others are fetched once, and deleted with this object.
        """
        from mlops_pipelines.train.artifacts import download, is_local, local_path

        with self._told(f"fetching {path} of {model} version {version}"):
            found = self._client.get_model_version(model, str(version))
            base = self._artifacts_of(str(found.run_id))
            rest = path
            if path.partition("/")[0] == "model":
                base, rest = str(found.source), path.partition("/")[2]
                if base.startswith("models:/"):
                    model_id = base.removeprefix("models:/")
                    base = self._client.get_logged_model(model_id).artifact_location
            missing = f"{model} version {version} has no artifact {path}"
            if is_local(base):
                return local_path(base, rest, missing)
            kept = self._downloads / str(found.run_id) / path
            return download(base, rest, kept, self.tracking_uri, missing)

    def _artifacts_of(self, run_id: str) -> str:
        # It never changes, and a bundle asks for five files of one run.
        if run_id not in self._bases:
            self._bases[run_id] = str(self._client.get_run(run_id).info.artifact_uri)
        return self._bases[run_id]

    def keep_json(self, model: str, version: int, name: str, value: Any) -> None:
        """Keep `value` as the file `name` of a version, over an older one; `fetch` finds it."""
        with self._told(f"keeping {name} of {model} version {version}"):
            run_id = str(self._client.get_model_version(model, str(version)).run_id)
            self._client.log_dict(run_id, value, name)

    def _source(self, model_id: str, location: str) -> str:
        # A database is asked for models:/<id> through the process-wide tracking URI, which is not
        # ours; a server takes nothing else for a model whose files it does not keep in the run.
        return f"models:/{model_id}" if self.tracking_uri.startswith("http") else location

    def _told(self, doing: str) -> Any:
        return told(self.tracking_uri, doing)

    def _experiment(self, model: str) -> str:
        with self._told(f"opening the experiment {model}"):
            found = self._client.get_experiment_by_name(model)
            if found is None:
                location = (
                    f"{self.artifact_root.rstrip('/')}/{model}" if self.artifact_root else None
                )
                try:
                    return str(self._client.create_experiment(model, location))
                except Exception:
                    # Another process may have made it between the two calls.
                    found = self._client.get_experiment_by_name(model)
                    if found is None:
                        raise
            if found.lifecycle_stage == "deleted":
                raise NotFoundError(
                    f"MLflow at {shown_uri(self.tracking_uri)}: experiment {model!r} was deleted; "
                    f"restore it with `mlflow experiments restore -x {found.experiment_id}`"
                )
            return str(found.experiment_id)

    def _create_model(self, model: str, description: str) -> None:
        try:
            self._client.create_registered_model(model, description=description)
        except Exception as error:
            if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
                raise

    def _close_killed(self, experiment: str) -> None:
        for run in self._client.search_runs([experiment], "attributes.status = 'RUNNING'"):
            if was_killed(run.data.tags.get(PROCESS, "")):
                self._client.set_terminated(run.info.run_id, "KILLED")

    def _alias(self, model: str, alias: str) -> int | None:
        with self._told(f"reading alias {alias} of {model}"):
            return self._aliases(model).get(alias)

    def _aliases(self, model: str) -> dict[str, int]:
        found = self._client.search_registered_models(f"name = '{model}'", max_results=1)
        return {alias: int(n) for alias, n in found[0].aliases.items()} if found else {}

    @staticmethod
    def _pages(search: Any, filter_string: str | None) -> Iterator[Any]:
        token = None
        while True:
            page = search(filter_string=filter_string, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def _version(found: ModelVersion, run: MlflowRun, aliases: tuple[str, ...]) -> Version:
    return Version(
        model=found.name,
        version=int(found.version),
        run_id=str(found.run_id),
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        tags={**run.data.tags, **found.tags},
        metrics=dict(run.data.metrics),
        params=dict(run.data.params),
        aliases=aliases,
    )
