from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.errors import NotFoundError, StoreError
from mlops_pipelines.store import Store, write_atomically


@pytest.fixture(scope="module")
def s3_port() -> Iterator[int]:
    """A local object store that speaks S3, with the bucket `mlops`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test-secret"}
    client = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", **keys
    )
    client.create_bucket(Bucket="mlops")
    yield port
    server.stop()


@pytest.fixture(params=["folder", "file address", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "store"))
    if request.param == "file address":
        return Store(f"file://{tmp_path}/store")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    port = request.getfixturevalue("s3_port")
    query = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    return Store(f"s3://mlops/{tmp_path.name}?{query}", cache=tmp_path / "cache")


def test_what_is_written_is_read(store: Store) -> None:
    frame = pd.DataFrame(
        {
            "number": [1.5, None],
            "text": ["a", None],
            "time": pd.to_datetime(["2026-01-01", None], utc=True),
        }
    )

    store.write_bytes("a/b.bin", b"\x00\xff")
    store.write_json("a/c.json", {"b": 1, "a": ["\u00e9", None]})
    store.write_frame("rows/d.parquet", frame)

    assert store.read_bytes("a/b.bin") == b"\x00\xff"
    assert store.read_json("a/c.json") == {"a": ["\u00e9", None], "b": 1}
    pd.testing.assert_frame_equal(store.read_frame("rows/d.parquet"), frame)
    assert (store.exists("a/b.bin"), store.exists("a"), store.exists("a/x")) == (
        True,
        False,
        False,
    )
    assert list(store.keys("a")) == ["a/b.bin", "a/c.json"]
    assert list(store.keys("nothing")) == []


def test_a_second_write_replaces_the_first(store: Store) -> None:
    store.write_bytes("a", b"a longer first")
    store.write_bytes("a", b"second")

    assert store.read_bytes("a") == b"second"


def test_what_is_absent_is_named(store: Store) -> None:
    with pytest.raises(NotFoundError) as caught:
        store.read_frame("rows/none.parquet")
    assert str(caught.value) == f"store {store.shown} has no rows/none.parquet"
    with pytest.raises(NotFoundError) as caught:
        store.local_folder("bundles/none")
    assert str(caught.value) == f"store {store.shown} has no bundles/none"


def test_what_is_no_parquet_and_no_json_is_said_in_one_line(store: Store) -> None:
    store.write_bytes("x", b"PAR1 and no more")

    with pytest.raises(StoreError, match="x is not Parquet: ") as caught:
        store.read_frame("x")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(StoreError, match="x is not JSON: "):
        store.read_json("x")


def test_a_folder_is_put_and_fetched(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    (folder / "code").mkdir(parents=True)
    (folder / "bundle.json").write_text("{}")
    (folder / "code" / "app.py").write_text("pass")

    store.put_folder("bundles/churn/1f", folder)
    store.put_folder("bundles/churn/1f", folder)
    found = store.local_folder("bundles/churn/1f")

    assert {
        path.relative_to(found).as_posix(): path.read_text()
        for path in found.rglob("*")
        if path.is_file()
    } == {"bundle.json": "{}", "code/app.py": "pass"}
    assert list(store.keys("bundles")) == [
        "bundles/churn/1f/bundle.json",
        "bundles/churn/1f/code/app.py",
    ]
    assert store.local_folder("bundles/churn/1f") == found


def test_a_folder_put_and_fetched_by_many_at_once_is_there_once(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 1000)
    together = threading.Barrier(4)

    def put(_: int) -> int:
        together.wait()
        store.put_folder("bundles/m/1", folder)
        return len(list(store.local_folder("bundles/m/1").iterdir()))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(put, range(4))) == [20] * 4

    assert len(list(store.keys("bundles"))) == 20
    local = Path(store.uri("bundles/m"))
    if local.is_dir():
        assert [path.name for path in local.iterdir()] == ["1"]


WRITER = """
import sys
from mlops_pipelines.store import Store
store = Store(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in b"ab":
        store.write_bytes("key", bytes([letter]) * 3_000_000)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_bytes(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        while not store.exists("key"):
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()

        found = store.read_bytes("key")
        assert found in (b"a" * 3_000_000, b"b" * 3_000_000)
        assert list(store.keys("")) == ["key"]
        (tmp_path / "key").unlink()


def test_a_failed_write_leaves_the_old_bytes_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_atomically(path, b"old")

    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]

    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_an_unwritable_store_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file stands where the folder should be")
    store = Store(str(tmp_path / "store"))

    with pytest.raises(StoreError) as caught:
        store.write_bytes("snapshots/a", b"")
    assert str(caught.value) == (
        f"store {tmp_path}/store cannot be written at snapshots/a: Not a directory; "
        "nothing was changed"
    )
    with pytest.raises(StoreError) as caught:
        store.read_bytes("snapshots/a")
    assert str(caught.value) == (
        f"store {tmp_path}/store cannot be read at snapshots/a: Not a directory"
    )


def test_a_full_disk_is_one_line_and_the_old_bytes_stay(tmp_path: Path) -> None:
    limited = """
import resource, signal, sys
from mlops_pipelines.errors import StoreError
from mlops_pipelines.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(sys.argv[1])
store.write_bytes("key", b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.write_bytes("key", b"x" * 5000)
except StoreError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", limited, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert done.stdout == (
        f"store {tmp_path} cannot be written at key: File too large; nothing was changed\n"
    )
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("key", b"old")]


def test_a_missing_bucket_is_one_line_without_a_secret(
    s3_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    query = f"endpoint_override=127.0.0.1:{s3_port}&scheme=http&region=us-east-1"
    store = Store(f"s3://key:hunter2@nowhere/prefix?{query}")

    with pytest.raises(StoreError) as caught:
        store.write_bytes("snapshots/a", b"x")

    message = str(caught.value)
    assert message.startswith("store s3://nowhere/prefix cannot be written at snapshots/a: ")
    assert "hunter2" not in message
    assert len(message.splitlines()) == 1
    assert store.uri("a") == "s3://nowhere/prefix/a"


@pytest.mark.parametrize(
    "root",
    ["s3://key:hunter2@bucket/x?colour=red", "gopher://key:hunter2@host/x"],
)
def test_an_address_that_is_none_is_one_line_without_a_secret(root: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(root)

    assert "hunter2" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@settings(max_examples=25, deadline=None)
@given(
    contents=st.dictionaries(
        st.from_regex(r"[a-z0-9]{1,4}(/[a-z0-9]{1,4}\.bin)", fullmatch=True),
        st.binary(max_size=20),
        max_size=4,
    )
)
def test_a_store_is_a_mapping_from_keys_to_bytes(
    contents: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    for key, data in contents.items():
        store.write_bytes(key, data)

    assert {key: store.read_bytes(key) for key in store.keys("")} == contents
    assert all(os.stat(store.uri(key)).st_mode & 0o777 == 0o644 for key in contents)
