"""From a thing to the version behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.explain.find import Found, find
from mlops_pipelines.serve.answered import Answered
from mlops_pipelines.serve.table import Table
from mlops_pipelines.serve.table_record import table_line

RELEASE = "22222222-0000-4000-8000-000000000002"
NIGHT = "44444444-0000-4000-8000-000000000004"
TRAINING = "1a2b3c4d-0000-4000-8000-000000000000"


def found(shop: Any, what: str) -> list[Found]:
    return find(shop.sources, {"shop": shop.log_dir}, what)


def restore(shop: Any) -> None:
    for version in (1, 2):
        shop.registry.tag("shop", version, {record.IMAGE: f"sha256:{version:064x}"})


@pytest.mark.parametrize("digits", [12, 20, 64])
@pytest.mark.parametrize(
    ("tag", "kind"),
    [(record.BUNDLE, "bundle"), (record.SNAPSHOT, "snapshot"), ("mlops.record_digest", "record")],
)
def test_by_a_digest_or_its_first_digits(shop: Any, tag: str, kind: str, digits: int) -> None:
    value = shop.registry.version("shop", 2).tags[tag]
    assert found(shop, value[:digits].upper()) == [Found(kind, value, "shop", 2)]


def test_by_an_image_with_and_without_its_algorithm(shop: Any) -> None:
    image = Found("image", f"sha256:{2:064x}", "shop", 2)
    assert found(shop, image.value) == [image]
    assert found(shop, f"  {2:064x}\n") == [image]


def test_by_a_commit(shop: Any) -> None:
    commit = shop.registry.version("shop", 1).tags[record.GIT_COMMIT]
    assert found(shop, commit) == [Found("commit", commit, "shop", 1)]


def test_by_a_dagster_run(shop: Any) -> None:
    assert found(shop, RELEASE) == [Found("Dagster run", RELEASE, "shop", 2, "deployment")]
    assert found(shop, RELEASE[:8]) == found(shop, RELEASE)
    says = "2026-03-01: drift_report, labels"
    assert found(shop, NIGHT) == [Found("Dagster run", NIGHT, "shop", 1, says)]


def test_by_a_training_whose_events_are_gone(shop: Any) -> None:
    assert found(shop, TRAINING) == [Found("Dagster run", TRAINING, "shop", 2, "training")]


def test_by_an_mlflow_run(shop: Any) -> None:
    run = shop.registry.version("shop", 2).run_id
    assert found(shop, run) == [Found("MLflow run", run, "shop", 2, "training")]
    (night, *_) = shop.sources.books.nights("shop", [], 1)
    assert found(shop, night.run_id) == [
        Found("MLflow run", night.run_id, "shop", 1, "night 2026-03-01")
    ]


@pytest.mark.parametrize(("name", "day"), [("old-1", 1), ("new-2", 2)])
def test_by_a_prediction_in_parquet_or_in_the_log(shop: Any, name: str, day: int) -> None:
    says = f"answered 2026-03-0{day}T12:00:00.000000Z"
    assert found(shop, name) == [Found("prediction", name, "shop", 1, says)]


def test_by_a_prediction_of_a_table_in_the_log(shop: Any) -> None:
    header = {"schema": 2, "kind": "predictions", "columns": ["x"], "model_version": 2}
    ids = ["many-1", 'many-"2"']
    answered = Answered([0, 1], None, None, ids)
    line = table_line(
        "old-9", ("2026-03-05", "now"), 1.0, Table(np.zeros((2, 1)), {}, ()), answered
    )
    path = shop.log_dir / "shop-v2-1-1.ndjson"
    broken = b'{"ids":["many-1"]\n["many-1"]\n'
    path.write_bytes(orjson.dumps(header) + b"\n" + broken + line + bytes(500))
    try:
        for name in ids:
            wanted = [Found("prediction", name, "shop", 2, "answered 2026-03-05")]
            assert found(shop, name) == wanted
        with pytest.raises(NotFoundError, match="nothing is called"):
            found(shop, "old-9")
    finally:
        path.unlink()


def test_a_prediction_is_found_without_an_index(shop: Any) -> None:
    elsewhere = {"shop": shop.log_dir.parent / "nowhere"}
    (one,) = find(shop.sources, elsewhere, "old-2")
    assert (one.kind, one.version) == ("prediction", 1)


def test_what_several_versions_share_names_them_all(shop: Any) -> None:
    shared = f"sha256:{'abcdef' * 10}0000"
    for version in (1, 2):
        shop.registry.tag("shop", version, {record.IMAGE: shared})
    try:
        both = [Found("image", shared, "shop", version) for version in (1, 2)]
        assert found(shop, shared[7:20]) == both
    finally:
        restore(shop)


@pytest.mark.parametrize("what", ["old-9", "no such thing", "f" * 64, 'a"b', "ä"])
def test_nothing_is_called_so(shop: Any, what: str) -> None:
    with pytest.raises(NotFoundError, match="nothing is called") as told:
        found(shop, what)
    assert "\n" not in str(told.value)


def test_too_few_digits(shop: Any) -> None:
    bundle = shop.registry.version("shop", 2).tags[record.BUNDLE]
    with pytest.raises(NotFoundError, match="of a hash give 12 digits or more"):
        found(shop, bundle[:7])


def test_the_beginning_of_several_things(shop: Any) -> None:
    shared = "abcdefabcdef"
    shop.registry.tag("shop", 1, {record.IMAGE: f"sha256:{shared}1".ljust(71, "0")})
    shop.registry.tag("shop", 2, {record.IMAGE: f"sha256:{shared}2".ljust(71, "0")})
    try:
        with pytest.raises(NotFoundError, match="begins the names of 2 things: image sha256:abc"):
            found(shop, shared)
        (one,) = found(shop, f"{shared}2")
        assert one.version == 2
    finally:
        restore(shop)
