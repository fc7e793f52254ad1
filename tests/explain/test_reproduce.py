"""A version is trained again from its own commit, files and snapshot, and compared bit by bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlops_pipelines import record
from mlops_pipelines.cli import main
from mlops_pipelines.errors import NotFoundError, ReleaseError
from mlops_pipelines.explain.reproduce import Reproduction, reproduce
from mlops_pipelines.project import declaration_files, read_declarations
from mlops_pipelines.store import Store
from mlops_pipelines.train.registry import Registry
from mlops_pipelines.train.snapshot import freeze
from mlops_pipelines.train.source import describe, load_rows
from mlops_pipelines.train.training import train_version
from tests.conftest import ROOT

DECLARATION = """\
type: mlops_pipelines.MonitoredModel

attributes:
  name: cancer
  task: binary_classification
  data:
    source: {python: "sklearn.datasets:load_breast_cancer"}
    target: target
  estimator:
    python: "pipeline:build"
    params: {depth: 2}
    cross_validation: 0
"""
PIPELINE = """\
from sklearn.ensemble import RandomForestClassifier


def build(depth, trees=5, random_state=0):
    return RandomForestClassifier(n_estimators=trees, max_depth=depth, random_state=random_state)
"""


@dataclass(frozen=True)
class Bench:
    """A project of the test's own, with its books beside it."""

    root: Path
    registry: Registry
    store: Store

    def train(self, model: str = "cancer", **launch: Any) -> int:
        """Train as the train track does, and return the version."""
        declared = next(
            each
            for file in declaration_files(self.root)
            for each in read_declarations(self.root, file)
            if each.spec.name == model
        )
        source = declared.spec.data.source
        rows = load_rows(source, self.root, declared.folder)
        snapshot = freeze(rows, declared.spec, self.store, describe(source))
        return train_version(
            declared,
            self.root,
            self.registry,
            self.store,
            snapshot.digest,
            record.provenance(self.root),
            **launch,
        ).version

    def again(self, version: int, model: str = "cancer") -> Reproduction:
        return reproduce(self.registry, self.store, self.root, model, version)

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        done = subprocess.run(
            ["git", *identity, "-C", str(self.root), *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
        )
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    @property
    def pipeline(self) -> Path:
        return self.root / "assets" / "cancer" / "pipeline.py"

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file of the project and the books, with its size and time."""
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in self.root.parent.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without a model: to make one takes seconds."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    Registry(f"sqlite:///{path}").models()
    return path


@pytest.fixture
def bench(project_root: Path, database: Path) -> Bench:
    home = project_root.parent / "home"
    home.mkdir()
    shutil.copyfile(database, home / "mlflow.db")
    (project_root / "assets" / "cancer").mkdir()
    (project_root / "assets" / "cancer" / "defs.yaml").write_text(DECLARATION)
    (project_root / "assets" / "cancer" / "pipeline.py").write_text(PIPELINE)
    registry = Registry(f"sqlite:///{home}/mlflow.db", str(home / "artifacts"))
    return Bench(project_root, registry, Store(str(home / "store")))


@pytest.fixture
def repository(bench: Bench) -> Bench:
    bench.git("init", "--quiet", "--initial-branch", "main")
    (bench.root / ".gitignore").write_text("__pycache__/\n")
    # Left out by `git archive`, and needed all the same.
    (bench.root / ".gitattributes").write_text("assets/** export-ignore\n")
    bench.commit("The model")
    return bench


@pytest.mark.parametrize("model", ["breast_cancer", "diabetes", "card_fraud"])
def test_every_example_model_is_reproduced(model: str, bench: Bench, project: Path) -> None:
    assert bench.root == project
    version = bench.train(model)
    found = bench.again(version, model)
    assert found.identical, found
    assert (found.differing, found.largest, found.golden, found.changed) == (0, 0.0, True, ())
    assert found.rows > 50 and found.params > 10 and found.metrics > 5
    assert found.commit is None
    assert found.notes[0].startswith("no commit is on record: the present code was run")


def test_an_older_commit_is_reproduced_with_its_own_code(repository: Bench) -> None:
    """Model and library have changed since, and neither would do what it did."""
    shutil.copytree(
        ROOT / "mlops_pipelines",
        repository.root / "mlops_pipelines",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    then = repository.commit("With the library")
    version = repository.train()
    repository.pipeline.write_text(PIPELINE.replace("trees=5", "trees=6"))
    fit = repository.root / "mlops_pipelines" / "train" / "fit.py"
    fit.write_text("raise RuntimeError('a later library')\n")
    now = repository.commit("Later")

    before = repository.files()
    found = repository.again(version)

    assert repository.files() == before
    assert repository.git("status", "--porcelain") == ""
    assert found.identical, found
    assert found.commit == then
    assert found.notes == (
        f"the code has changed since: it was trained at {then[:12]}, which was run again, and "
        f"{now[:12]} is checked out",
    )


def test_the_present_commit_needs_no_word(repository: Bench) -> None:
    found = repository.again(repository.train())
    assert found.identical, found
    assert found.notes == (
        "the project does not hold the library, so that the installed one was used",
    )
    assert found.commit == repository.git("rev-parse", "HEAD")


def test_uncommitted_changes_come_from_what_mlflow_kept(repository: Bench) -> None:
    repository.pipeline.write_text(PIPELINE.replace("trees=5", "trees=7"))
    version = repository.train()
    same = repository.again(version)
    assert same.identical and same.commit is None
    assert "they are those of the work tree now, by their hash" in same.notes[0]

    repository.pipeline.write_text(PIPELINE.replace("trees=5", "trees=8"))
    found = repository.again(version)
    assert found.identical, found
    assert found.commit == repository.git("rev-parse", "HEAD")
    assert "the model's own files are those kept in MLflow" in found.notes[0]
    assert "is not known" in found.notes[0]
    assert found.notes[1] == "there are uncommitted changes in the work tree; they were not used"


def test_a_model_that_was_never_committed_is_reproduced(repository: Bench) -> None:
    folder = repository.root / "assets" / "deep" / "other"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(DECLARATION.replace("name: cancer", "name: other"))
    (folder / "pipeline.py").write_text(PIPELINE)
    version = repository.train("other")
    shutil.rmtree(folder)
    found = repository.again(version, "other")
    assert found.identical, found


def test_a_launch_with_other_parameters_is_reproduced(bench: Bench) -> None:
    sklearn = "sklearn.ensemble:RandomForestClassifier"
    other = {"n_estimators": 4, "max_features": None, "criterion": "entropy"}
    for launch in ({"params": {"depth": 1}}, {"python": sklearn, "params": other}):
        found = bench.again(bench.train(**launch))
        if "python" in launch:
            assert found.identical, found
        else:
            # `depth` is the function's own word, and only max_depth is on record.
            assert not found.identical
            assert [each.name for each in found.changed[:1]] == ["max_depth"]
            assert found.notes[-1].endswith("handed to the estimator again: max_depth")


def test_what_is_not_seeded_is_not_identical(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.pipeline.write_text(
        PIPELINE.replace("random_state=random_state", "random_state=None").replace(
            "depth, trees=5, random_state=0", "depth, trees=5"
        )
    )
    version = bench.train()
    found = bench.again(version)
    assert not found.identical
    assert found.differing > 0 and found.largest > 0 and not found.golden
    assert {each.name for each in found.changed} >= {"log_loss"}

    told = CliRunner().invoke(main, ["reproduce", "cancer", str(version)])
    assert told.exit_code == 1
    assert told.output.startswith(f"cancer version {version}: NOT identical\n")
    assert " differ, by 0." in told.output


def test_the_command_says_that_all_is_the_same(bench: Bench) -> None:
    version = str(bench.train())
    before = bench.files()
    told = CliRunner().invoke(main, ["reproduce", "cancer", version, "--json"])
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert (said["identical"], said["differing"], said["changed"]) == (True, 0, [])
    written = {name for name, of in bench.files().items() if before.get(name) != of}
    assert not [name for name in written if "mlflow" in name or "artifacts" in name], written
    text = CliRunner().invoke(main, ["reproduce", "cancer", version]).output
    assert text.splitlines()[0] == f"cancer version {version}: identical to the last bit"


def test_other_surroundings_are_told(repository: Bench) -> None:
    version = repository.train()
    tags = {record.GIT_COMMIT: "f" * 40, record.LOCK_HASH: "a" * 64, record.PYTHON: "3.9.1"}
    repository.registry.tag("cancer", version, tags)
    found = repository.again(version)
    assert found.identical and found.commit is None
    assert [note.partition(":")[0][:60] for note in found.notes[:2]] == [
        "commit ffffffffffff is not in this repository",
        "requirements.lock has changed since (aaaaaaaaaaaa then, "
        + record.provenance(repository.root).lock_hash[:4],
    ]
    assert found.notes[2].startswith("it was trained with Python 3.9.1; this is 3.")


def test_another_snapshot_is_refused(bench: Bench) -> None:
    version = bench.train()
    [key] = [key for key in bench.store.keys("snapshots") if key.endswith(".parquet")]
    frame = bench.store.read_frame(key)
    frame.loc[0, "mean radius"] += 1
    bench.store.write_frame(key, frame)
    with pytest.raises(ReleaseError, match="is not as recorded .* restore the snapshot"):
        bench.again(version)


def test_code_that_does_not_run_any_more_is_named(bench: Bench) -> None:
    version = bench.train()
    kept = bench.registry.fetch("cancer", version, "code") / "pipeline.py"
    kept.write_text(f"import gone_since\n{PIPELINE}")
    with pytest.raises(ReleaseError) as raised:
        bench.again(version)
    assert str(raised.value) == (
        f"cancer version {version} cannot be trained again with the recorded code: DataError: "
        "pipeline:build: assets/cancer/pipeline.py:1 fails when it is imported: "
        "ModuleNotFoundError: No module named 'gone_since'"
    )
    kept.write_text("import os\n\n\ndef build(depth):\n    os._exit(9)\n")
    with pytest.raises(ReleaseError, match="recorded code: its process ended with code 9"):
        bench.again(version)


def test_there_is_no_such_version(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        bench.again(7)
