"""Drawn nulls lie in the store beside their version, and only so many of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_pipelines.monitor import null_files
from mlops_pipelines.monitor.null_files import NullFiles
from mlops_pipelines.store import Store


def test_what_was_written_is_read_by_its_version_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    files = NullFiles(store, "churn", 3)
    assert files.read("a1") is None
    files.write("a1", b"drawn")
    assert files.read("a1") == b"drawn"
    assert NullFiles(store, "churn", 4).read("a1") is None
    assert list(store.keys("nulls")) == ["nulls/churn/3/a1.npz"]


def test_a_version_keeps_no_more_than_so_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(null_files, "MOST", 2)
    files = NullFiles(Store(str(tmp_path)), "churn", 3)
    for name in ("a", "b", "c"):
        files.write(name, b"drawn")
    assert [files.read(name) for name in ("a", "b", "c")] == [b"drawn", b"drawn", None]


def test_a_store_that_takes_nothing_costs_only_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "nulls").write_text("not a folder")
    files = NullFiles(Store(str(tmp_path)), "churn", 3)
    files.write("a", b"drawn")
    assert "churn version 3: store" in caplog.text
    assert "cannot be written" in caplog.text
