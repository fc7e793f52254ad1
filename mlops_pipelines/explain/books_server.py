"""MLflow asked through its own client: a tracking server, in pages of a thousand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.explain.books import VERDICTS, Entry, Night, RunOf, Tagged, run_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops_pipelines.train.registry import Registry, Version

PAGE = 1000


class ServerBooks:
    """MLflow at an address. Raises TrackingError where it does not answer."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def version(self, model: str, version: int) -> Entry:
        """See Books."""
        return self._entry(self._registry.version(model, version))

    def versions(self, model: str) -> Sequence[Entry]:
        """See Books."""
        return [self._entry(each) for each in reversed(self._registry.versions(model))]

    def numbers(self, model: str) -> Mapping[int, tuple[str, ...]]:
        """See Books."""
        with self._told(f"reading the versions of {model}"):
            named = self._client.search_registered_models(f"name = '{model}'", max_results=1)
            found = _paged(self._client.search_model_versions, f"name = '{model}'")
            aliases = [
                (int(number), alias) for each in named for alias, number in each.aliases.items()
            ]
            return {
                number: tuple(sorted(alias for at, alias in aliases if at == number))
                for number in (int(each.version) for each in found)
            }

    def nights(
        self, model: str, metrics: Iterable[str], version: int | None = None
    ) -> Sequence[Night]:
        """See Books."""
        wanted = set(metrics)
        mine = f"tags.`{record.KIND}` = 'evaluation'"
        if version is not None:
            mine += f" and tags.`{record.VERSION}` = '{version}'"
        with self._told(f"reading the nights of {model}"):
            experiment = self._client.get_experiment_by_name(model)
            if experiment is None:
                return []
            listed = [
                Night(
                    day=run.data.tags[record.DAY],
                    version=int(run.data.tags[record.VERSION]),
                    run_id=run.info.run_id,
                    metrics={n: v for n, v in run.data.metrics.items() if n in wanted},
                    verdicts={
                        VERDICTS[name]: value
                        for name, value in run.data.tags.items()
                        if name in VERDICTS
                    },
                )
                for run in _paged(
                    lambda filter_string, **page: self._client.search_runs(
                        [experiment.experiment_id], filter_string, **page
                    ),
                    mine,
                )
            ]
        return sorted(listed, key=lambda night: (night.day, night.version))

    def measured(
        self, runs: Sequence[str], metrics: Iterable[str]
    ) -> Mapping[str, Mapping[str, float]]:
        """See Books."""
        wanted = set(metrics)
        found: dict[str, Mapping[str, float]] = {run: {} for run in runs}
        if not runs:
            return found
        with self._told("reading the metrics of runs"):
            of = {self._client.get_run(runs[0]).info.experiment_id}
            listed = ", ".join(f"'{run}'" for run in runs)
            for run in _paged(
                lambda filter_string, **page: self._client.search_runs(
                    list(of), filter_string, **page
                ),
                f"attributes.run_id IN ({listed})",
            ):
                found[run.info.run_id] = {
                    name: value for name, value in run.data.metrics.items() if name in wanted
                }
        return found

    def tagged(self, tags: Sequence[str], start: str) -> Sequence[Tagged]:
        """See Books."""
        with self._told("looking for a tag"):
            return [
                Tagged(each.name, int(each.version), tag, each.tags[tag])
                for tag in tags
                for each in _paged(
                    self._client.search_model_versions, f"tags.`{tag}` LIKE '{_plain(start)}%'"
                )
            ]

    def run(self, run_id: str) -> RunOf | None:
        """See Books."""
        try:
            with self._told("looking for a run"):
                return run_of(self._client.get_run(run_id).data.tags)
        except NotFoundError:
            return None

    def artifact(self, entry: Entry, name: str) -> bytes | None:
        """See Books."""
        try:
            return self._registry.fetch(entry.model, entry.version, name).read_bytes()
        except NotFoundError:
            return None

    @cached_property
    def _registry(self) -> Registry:
        from mlops_pipelines.train.registry import Registry

        return Registry(self._uri)

    @cached_property
    def _client(self) -> MlflowClient:
        from mlops_pipelines.train.tracking import connect

        return connect(self._uri)

    def _told(self, doing: str) -> Any:
        from mlops_pipelines.train.tracking import told

        return told(self._uri, doing)

    @staticmethod
    def _entry(found: Version) -> Entry:
        return Entry(
            model=found.model,
            version=found.version,
            run_id=found.run_id,
            created=found.created,
            tags=found.tags,
            metrics=found.metrics,
            params=found.params,
            aliases=found.aliases,
            artifacts="",
        )


def _paged(search: Callable[..., Any], filter_string: str) -> Iterator[Any]:
    token = None
    while True:
        page = search(filter_string=filter_string, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _plain(start: str) -> str:
    """Without what SQL's LIKE or a quoted text would read otherwise."""
    return "".join(letter for letter in start if letter.isalnum() or letter in "-:.")
