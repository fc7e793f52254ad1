"""`python -P -m mlops_pipelines.serve --bundle FOLDER …`: one worker, or one answer to stdin."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

# One row is answered faster by one thread; to have effect, set before numpy is imported.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

# ONNX Runtime would set its own up as soon as it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import orjson

from mlops_pipelines.serve.failures import failure_of
from mlops_pipelines.serve.predictor import BundleError, ModelError, Predictor
from mlops_pipelines.serve.signature import Limits
from mlops_pipelines.serve.verify import check

GARBAGE = 10_000
SWITCH_SECONDS = 0.0005


def main() -> int:
    """Run as the arguments say; 2 and one line on stderr when the bundle cannot be served."""
    arguments = _arguments()
    # The text of a warning may quote a row.
    warnings.simplefilter("ignore")
    logging.raiseExceptions = False
    try:
        verified = check(arguments.bundle.absolute())
        predictor = Predictor.load(arguments.bundle)
        return _answer(predictor) if arguments.answer else _serve(arguments, predictor, verified)
    except (BundleError, ModelError, OSError, ValueError) as exc:
        print(f"mlops_pipelines.serve: {exc}", file=sys.stderr)
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -P -m mlops_pipelines.serve")
    parser.add_argument("--bundle", type=Path, required=True, help="the folder to serve")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--answer", action="store_true", help='answer {"rows": [[…], …]} from stdin')
    what.add_argument("--listen-fd", type=int, help="an inherited listening TCP socket")
    what.add_argument("--port", type=int, help="listen here, and serve at once")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--serve", action="store_true", help="serve without waiting to be told")
    parser.add_argument("--log-dir", type=Path, help="where the prediction log is written")
    parser.add_argument("--control-dir", type=Path, help="where the private sockets are made")
    parser.add_argument(
        "--attached", action="store_true", help="end when standard input closes, with its owner"
    )
    parser.add_argument(
        "--fsync", action=argparse.BooleanOptionalAction, help="default: as the bundle says"
    )
    for field in dataclasses.fields(Limits):
        name = f"--max-{field.name}".replace("_", "-")
        text = f"default: as the bundle says, else {field.default}"
        parser.add_argument(name, dest=field.name, type=type(field.default), help=text)
    arguments = parser.parse_args()
    if not arguments.answer and arguments.log_dir is None:
        parser.error("--log-dir is needed to serve")
    return arguments


def _answer(predictor: Predictor) -> int:
    rows = orjson.loads(sys.stdin.buffer.read())["rows"]
    names = predictor.meta.names
    wrong = [index for index, row in enumerate(rows) if len(row) != len(names)]
    if wrong or not rows:
        raise ValueError(f"stdin: expected rows of {len(names)} values, not so in rows {wrong[:5]}")
    try:
        answer = predictor.predict_rows(rows)
    except ModelError as exc:
        print(orjson.dumps({"failed": failure_of(exc)._asdict()}).decode())
        return 3
    said = {"predictions": answer.predictions, "scores": answer.scores}
    print(orjson.dumps({**said, "probabilities": answer.probabilities}).decode())
    return 0


def _serve(arguments: argparse.Namespace, predictor: Predictor, verified: str) -> int:
    from mlops_pipelines.serve.app import App
    from mlops_pipelines.serve.events import JsonLines
    from mlops_pipelines.serve.logs import Logs
    from mlops_pipelines.serve.tokens import Tokens
    from mlops_pipelines.serve.worker import Worker, control_paths

    if arguments.attached:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    tokens = Tokens.from_environment(os.environ)
    meta = predictor.meta
    if arguments.control_dir is not None:
        control_paths(arguments.control_dir, meta.version, os.getpid())
        arguments.control_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if arguments.port is not None:
        listener = _listen(arguments.host, arguments.port)
    else:
        listener = socket.socket(fileno=arguments.listen_fd)
        listener.set_inheritable(False)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(meta.model, meta.version))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("mlops_pipelines.serve").setLevel(logging.INFO)

    logging.getLogger("mlops_pipelines.serve").info(
        "verified", extra={"fields": {"bundle": verified, "runtime": predictor.runtime}}
    )
    sync = meta.sync if arguments.fsync is None else arguments.fsync
    logs = Logs.open(arguments.log_dir, meta, f"{socket.gethostname()}-{os.getpid()}", sync)
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Limits)}
    asked = {name: value for name, value in given.items() if value is not None}
    limits = Limits(**{**meta.limits, **asked})
    app = App(predictor, logs, limits, tokens)
    at_once = arguments.serve or arguments.port is not None
    _settle()
    Worker(app, listener, arguments.control_dir, at_once).run()
    logs.close()
    return 0


def _settle() -> None:
    """Have the interpreter stop as seldom, and as shortly, as it may."""
    # What is loaded by now stays, and rows hold no cycles: looking for some is for later.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    # So long a thread that a large request keeps busy may keep the event loop from the lock.
    sys.setswitchinterval(SWITCH_SECONDS)


def _end_with_stdin() -> None:
    """Leave when whoever started this process is gone, however it went: its pipe closes."""
    # Not through sys.stdin, whose lock a thread would hold when the interpreter ends.
    while os.read(0, 4096):
        pass
    # As the first process of a container, a signal without a handler yet is lost.
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as exc:
        # Python repeats the address in brackets.
        reason = (exc.strerror or "").partition(" (")[0]
        raise OSError(f"{host}:{port} cannot be listened on: {reason}") from exc


if __name__ == "__main__":
    sys.exit(main())
