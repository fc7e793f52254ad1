"""LitServe: `python litserve_app.py RUNTIME plain|batching PORT`."""

import sys
from typing import Any

import litserve
from session import open_model


class Plain(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002
        self.score = open_model(sys.argv[1])

    def decode_request(self, request):  # noqa: ANN001, ANN201  LitServe's endpoint follows it
        return request["inputs"]

    def predict(self, rows: Any) -> Any:
        return self.score(rows)

    def encode_response(self, scores: Any) -> Any:
        return {"scores": scores.tolist()}


class Batching(Plain):
    """Each request is one row, as in LitServe's page on batching."""

    def decode_request(self, request):  # noqa: ANN001, ANN201  LitServe's endpoint follows it
        (row,) = request["inputs"]
        return row

    def encode_response(self, score: Any) -> Any:
        return {"scores": [float(score)]}


if __name__ == "__main__":
    api = Plain() if sys.argv[2] == "plain" else Batching(max_batch_size=8, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[3]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="error",
        access_log=False,
    )
