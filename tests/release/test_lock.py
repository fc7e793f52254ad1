from __future__ import annotations

import importlib.metadata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mlops_pipelines.release.lock import SERVING, closure, pin, requirements, serving_lock
from mlops_pipelines.serve.bundle import ONNX_RUNTIME, SCIKIT_LEARN


def test_serving_needs_few_of_the_projects_packages() -> None:
    by_sklearn, by_onnx = closure(SERVING[SCIKIT_LEARN]), closure(SERVING[ONNX_RUNTIME])
    assert {"scikit-learn", "scipy", "numpy", "uvicorn", "h11", "skops"} <= by_sklearn
    assert {"onnxruntime", "numpy", "uvicorn", "h11", "orjson"} <= by_onnx
    assert not by_onnx & {"scikit-learn", "scipy", "pandas", "skops", "onnx", "skl2onnx"}
    assert not (by_sklearn | by_onnx) & {"dagster", "mlflow", "evidently", "great-expectations"}
    assert closure(["no-such-package"]) == set()


def test_without_a_lock_the_installed_versions_are_pinned(tmp_path: Path) -> None:
    lines = serving_lock(tmp_path, ONNX_RUNTIME).splitlines()
    assert f"numpy=={importlib.metadata.version('numpy')}" in lines
    assert lines == sorted(lines)


def test_what_a_requirement_pins() -> None:
    lines = (
        "numpy[all] == 2.4.6 ; python_version < '3.12' \\\n  --hash=sha256:0a \\\n --hash=sha256:1b"
    )
    assert pin(lines) == ("2.4.6", "python_version < '3.12'", frozenset({"0a", "1b"}))
    assert pin("numpy==2.4.6") == ("2.4.6", None, frozenset())
    assert pin("numpy>=2") == (None, None, frozenset())


names = st.from_regex(r"[a-z][a-z0-9_.-]{0,10}[a-z0-9]", fullmatch=True)
blocks = st.lists(st.tuples(names, st.integers(0, 3), st.booleans(), st.booleans()), max_size=6)


@given(blocks)
def test_every_requirement_of_a_lock_is_read_with_its_hashes(
    given_blocks: list[tuple[str, int, bool, bool]],
) -> None:
    text, expected = "# made by a tool\n", []
    for name, hashes, marker, comment in given_blocks:
        lines = [f"{name}==1.0" + (" ; python_version < '3.12'" if marker else "")]
        lines += [f"    --hash=sha256:{number:02d}" for number in range(hashes)]
        expected.append((name, " \\\n".join(lines) + "\n"))
        text += " \\\n".join(lines) + "\n" + ("    # via x\n" if comment else "")
    assert list(requirements(text)) == expected
