"""A small API server over HTTP: it keeps objects, and its one node does as it is told.

Paths, status codes and the shapes of answers are those of the Kubernetes API:
https://kubernetes.io/docs/reference/using-api/api-concepts/. What is applied is held against the
published schemas, and so is what is answered. It checks no credentials and runs no container.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.release.kubernetes.schema import mistakes

KINDS = {
    "deployments": ("apps/v1", "Deployment"),
    "horizontalpodautoscalers": ("autoscaling/v2", "HorizontalPodAutoscaler"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
    "persistentvolumeclaims": ("v1", "PersistentVolumeClaim"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
    "pods": ("v1", "Pod"),
    "services": ("v1", "Service"),
}
PATH = re.compile(
    r"/(?:api|apis)/(?P<api>v1|[\w.]+/v\d)/namespaces/(?P<space>[\w-]+)/(?P<plural>\w+)"
    r"(?:/(?P<name>[\w.:-]+))?(?:/(?P<below>.+))?"
)
SINCE = "2026-11-20T10:00:00Z"

BLOCKED = {
    "image_pull": {
        "waiting": {
            "reason": "ImagePullBackOff",
            "message": 'Back-off pulling image "images.internal/models/cancer"',
        }
    },
    "crash": {
        "waiting": {
            "reason": "CrashLoopBackOff",
            "message": "back-off 10s restarting failed container=model",
        }
    },
    "never": {"running": {"startedAt": SINCE}},
}
ENDED = {
    "terminated": {
        "exitCode": 2,
        "reason": "Error",
        "message": "mlops_pipelines.serve: /bundle/model.onnx was altered\n",
        "startedAt": SINCE,
        "finishedAt": SINCE,
    }
}


class ApiServer:
    """`objects` by kind and name; `node` says what becomes of pods, by version, else ready.

    `refusals` are answers by verb and kind: status, reason and message. A request of the verb and
    kind `lost` is carried out, and its answer is lost. With `garbled` it answers as
    some other server would. `pages` are what pods say on /metrics.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.node: dict[str, str] = {}
        self.refusals: dict[tuple[str, str], tuple[int, str, str]] = {}
        self.lost: tuple[str, str] | None = None
        self.garbled = False
        self.pages: dict[str, str] = {}
        self._version = 0

    def answer(self, method: str, address: str, kind: str, body: bytes) -> tuple[int, Any]:
        """Status and content for one request; status 0 where nobody is answered."""
        url = urlsplit(address)
        if self.garbled:
            return 200, {"kind": "Welcome", "spec": [1]}
        match = PATH.fullmatch(unquote(url.path))
        if match is None or match["plural"] not in KINDS or match["space"] != self.namespace:
            return self._status(404, "NotFound", "the server could not find the requested resource")
        api, named = KINDS[match["plural"]]
        assert match["api"] == api
        refused = self.refusals.get((method, named))
        if refused:
            return self._status(*refused)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        name, below = match["name"], match["below"]
        if below == "proxy/metrics":
            page = self.pages.get(name.partition(":")[0])
            return (200, page) if page else self._status(503, "ServiceUnavailable", "no answer")
        if method == "PATCH":
            answer = self._patched(named, name, below, kind, query, json.loads(body))
            return (0, None) if self.lost == (method, named) else answer
        if name is None:
            return 200, self._listed(api, named, query.get("labelSelector", ""))
        found = self.objects.get((named, name))
        if found is None:
            return self._status(404, "NotFound", f'{match["plural"]} "{name}" not found')
        if method == "DELETE":
            del self.objects[named, name]
            return self._status(200, "", "")
        return 200, found

    def _patched(
        self, kind: str, name: str, below: str | None, media: str, query: Any, body: Any
    ) -> tuple[int, Any]:
        found = self.objects.get((kind, name))
        if below == "scale":
            assert media == "application/merge-patch+json"
            assert found is not None
            found["spec"]["replicas"] = body["spec"]["replicas"]
            scale = {"apiVersion": "autoscaling/v1", "kind": "Scale"}
            return 200, scale | {"metadata": found["metadata"], "spec": body["spec"]}
        if media != "application/apply-patch+yaml":
            return self._status(415, "UnsupportedMediaType", "the body of the request is unknown")
        if "fieldManager" not in query:
            message = "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value"
            return self._status(422, "Invalid", message)
        wrong = mistakes(body)
        if wrong or body["metadata"]["namespace"] != self.namespace:
            return self._status(400, "BadRequest", f"strict decoding error: {wrong}")
        self._version += 1
        about = {
            "uid": f"00000000-0000-4000-8000-{self._version:012d}",
            "creationTimestamp": SINCE,
            "resourceVersion": str(self._version),
            "generation": 1,
        }
        body["metadata"] |= about
        self.objects[kind, name] = body
        assert mistakes(body) == []
        return (200 if found else 201), body

    def _listed(self, api: str, kind: str, selector: str) -> dict[str, Any]:
        wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
        if kind == "Pod":
            every = [*self._pods()]
        else:
            every = [each for (of, _), each in self.objects.items() if of == kind]
        items = [
            each for each in every if wanted.items() <= each["metadata"].get("labels", {}).items()
        ]
        about = {"resourceVersion": str(self._version)}
        return {"apiVersion": api, "kind": f"{kind}List", "metadata": about, "items": items}

    def _pods(self) -> Iterator[dict[str, Any]]:
        for (kind, name), deployment in self.objects.items():
            template = deployment["spec"].get("template")
            for number in range(deployment["spec"]["replicas"] if kind == "Deployment" else 0):
                pod = {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {
                        **template["metadata"],
                        "name": f"{name}-7d4b9c6f5d-{number:05d}",
                        "namespace": self.namespace,
                        "creationTimestamp": SINCE,
                    },
                    "spec": template["spec"],
                    "status": self._condition(template),
                }
                assert mistakes(pod) == []
                yield pod

    def _condition(self, template: dict[str, Any]) -> dict[str, Any]:
        does = self.node.get(template["metadata"]["labels"]["app.kubernetes.io/version"], "ready")
        if does == "no_node":
            message = "0/3 nodes are available: 3 Insufficient memory."
            lacking = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            return {"phase": "Pending", "conditions": [{**lacking, "message": message}]}
        ready = does == "ready"
        status = {
            "name": "model",
            "image": template["spec"]["containers"][0]["image"],
            "imageID": "",
            "ready": ready,
            "restartCount": 1 if does == "crash" else 0,
            "state": BLOCKED.get(does, {"running": {"startedAt": SINCE}}),
            "lastState": ENDED if does == "crash" else {},
        }
        return {
            "phase": "Pending" if does == "image_pull" else "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": str(ready)},
            ],
            "containerStatuses": [status],
        }

    def _status(self, code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
        said = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success" if code < 300 else "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }
        assert mistakes(said) == []
        return code, said


@contextmanager
def serving(server: ApiServer) -> Iterator[str]:
    """The address where `server` answers while the body runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            media = self.headers.get("content-type", "")
            status, content = server.answer(self.command, self.path, media, body)
            if not status:
                self.close_connection = True
                return
            text = content if isinstance(content, str) else json.dumps(content)
            kind = "text/plain" if isinstance(content, str) else "application/json"
            answer = text.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_PATCH = do_DELETE = do_POST = do_PUT = do_GET  # noqa: N815 (http.server's names)

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()


def kubeconfig(file: Path, address: str, context: str = "test") -> Path:
    """A kubeconfig whose only context leads to `address`."""
    said = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": "here", "cluster": {"server": address}}],
        "users": [{"name": "me", "user": {"token": "not-a-secret"}}],
        "contexts": [{"name": context, "context": {"cluster": "here", "user": "me"}}],
    }
    file.write_text(json.dumps(said))
    return file
