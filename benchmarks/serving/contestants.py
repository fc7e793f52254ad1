"""Which servers take part, and the command of each: one worker, its documented best settings."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from benchmarks.environments import PeerError
from benchmarks.serving.model import NAME
from benchmarks.serving.servers import PEERS, Place, Server, free_port

Command = list[str]


def ours(*options: str, onnx: bool) -> Server:
    """The server in the bundle, its log on."""

    def command(place: Place) -> Command:
        from mlops_pipelines.release.targets.worker import serve_command

        bundle = place.model.bundle if onnx else place.model.sklearn_bundle
        (place.folder / "log").mkdir(exist_ok=True)
        place_at = ["--port", str(place.port), "--log-dir", str(place.folder / "log")]
        return [*serve_command(bundle), *place_at, *options]

    runtime = "ONNX" if onnx else "scikit-learn"
    said = ", log without fsync" if "--no-fsync" in options else ""
    return Server(f"ours, {runtime}{said}", None, command, "/invocations", "array", onnx=onnx)


def _mlflow(kind: str) -> Server:
    def command(place: Place) -> Command:
        saved = place.model.files / kind
        if not saved.exists():
            _prepare(place, "mlflow_save.py")
        address = ["--host", "127.0.0.1", "--port", str(place.port), "--workers", "1"]
        mlflow = [str(place.python), "-m", "mlflow", "models", "serve"]
        return [*mlflow, "-m", str(saved), "--env-manager", "local", *address]

    form, said = {
        "signed": ("named", "data frame with signature"),
        "bare": ("array", "array without signature"),
    }[kind]
    name = f"mlflow models serve, {said}"
    return Server(name, "mlflow", command, "/invocations", form, label_only=True)


def _prepare(place: Place, script: str) -> None:
    environment = os.environ | {
        "BENCH_FILES": str(place.model.files),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": str(PEERS),
    }
    done = subprocess.run(
        [place.python, PEERS / script],
        cwd=place.model.files,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise PeerError(f"not started: {script}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")


def _bentoml(service: str, runtime: str) -> Server:
    def command(place: Place) -> Command:
        address = ["--host", "127.0.0.1", "--port", str(place.port)]
        bentoml = [str(place.python), "-m", "bentoml", "serve"]
        return [*bentoml, f"bento_service:{service}", "--working-dir", str(PEERS), *address]

    return Server(
        _named("BentoML", runtime, service == "Batching"),
        "bentoml",
        command,
        "/predict",
        "array",
        settings={"BENCH_RUNTIME": runtime},
        onnx=runtime == "onnx",
    )


def _mlserver(runtime: str, batching: bool) -> Server:
    def command(place: Place) -> Command:
        settings = {
            "host": "127.0.0.1",
            "http_port": place.port,
            "grpc_port": free_port(),
            "metrics_port": free_port(),
            # MLServer's advice for small models: no process of their own, no debug log.
            "parallel_workers": 0,
            "debug": False,
        }
        sklearn = "mlserver_sklearn.SKLearnModel"
        model: dict[str, object] = {
            "name": "model",
            "implementation": sklearn if runtime == "sklearn" else "mlserver_onnx.OnnxModel",
            "parameters": {"uri": str(place.model.files / "model.joblib"), "version": "1"},
        }
        if batching:
            model |= {"max_batch_size": 8, "max_batch_time": 0.001}
        _write(place.folder / "settings.json", settings)
        _write(place.folder / "model-settings.json", model)
        return [str(place.python.with_name("mlserver")), "start", str(place.folder)]

    name = _named("MLServer", runtime, batching)
    path = "/v2/models/model/versions/1/infer"
    return Server(name, "mlserver", command, path, "v2", onnx=runtime == "onnx")


def _litserve(runtime: str, batching: bool) -> Server:
    def command(place: Place) -> Command:
        kind = "batching" if batching else "plain"
        script = str(PEERS / "litserve_app.py")
        return [str(place.python), script, runtime, kind, str(place.port)]

    name = _named("LitServe", runtime, batching)
    return Server(name, "litserve", command, "/predict", "array", onnx=runtime == "onnx")


def _uvicorn(name: str, app: str, onnx: bool) -> Server:
    def command(place: Place) -> Command:
        address = ["--host", "127.0.0.1", "--port", str(place.port)]
        quiet = ["--no-access-log", "--log-level", "warning"]
        fast = ["--loop", "uvloop", "--http", "httptools"]
        uvicorn = [str(place.python), "-m", "uvicorn", f"{app}:app"]
        return [*uvicorn, *address, *quiet, *fast]

    return Server(name, "fastapi", command, "/predict", "array", onnx=onnx)


def _named(peer: str, runtime: str, batching: bool) -> str:
    shown = {"onnx": "ONNX", "sklearn": "scikit-learn"}[runtime]
    return f"{peer}, {shown}{', batching' if batching else ''}"


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document))


OURS = ours(onnx=True)
OURS_NAMED = Server("ours, ONNX, data frame", None, OURS.command, OURS.path, "named", onnx=True)
OURS_BINARY = Server(
    "ours, ONNX, binary v2 tensor",
    None,
    OURS.command,
    f"/v2/models/{NAME}/infer",
    "binary",
    onnx=True,
)
OURS_NO_FSYNC = ours("--no-fsync", onnx=True)
OURS_SKLEARN = ours(onnx=False)
MLFLOW = _mlflow("signed")
MLFLOW_BARE = _mlflow("bare")
SPECIALISTS_SKLEARN = (
    _bentoml("Plain", "sklearn"),
    _bentoml("Batching", "sklearn"),
    _mlserver("sklearn", batching=False),
    _mlserver("sklearn", batching=True),
    _litserve("sklearn", batching=False),
    _litserve("sklearn", batching=True),
)
SPECIALISTS_ONNX = (
    _bentoml("Plain", "onnx"),
    _bentoml("Batching", "onnx"),
    _mlserver("onnx", batching=False),
    _mlserver("onnx", batching=True),
    _litserve("onnx", batching=False),
    _litserve("onnx", batching=True),
)
FASTAPI_SKLEARN = _uvicorn("FastAPI + scikit-learn, no log", "fastapi_sklearn", onnx=False)
FASTAPI_ONNX = _uvicorn("FastAPI + ONNX Runtime + log line", "fastapi_onnx", onnx=True)
BARE = _uvicorn("bare ASGI function + ONNX Runtime + log line", "bare_asgi", onnx=True)
ALL = (
    OURS_NAMED,
    OURS,
    OURS_NO_FSYNC,
    OURS_SKLEARN,
    MLFLOW,
    MLFLOW_BARE,
    *SPECIALISTS_SKLEARN,
    *SPECIALISTS_ONNX,
    FASTAPI_SKLEARN,
    FASTAPI_ONNX,
    BARE,
)
