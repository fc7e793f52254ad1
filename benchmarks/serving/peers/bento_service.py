"""BentoML: a plain endpoint, and one with adaptive batching; for either runtime."""

import os

import bentoml
import numpy as np
from session import open_model

RUNTIME = os.environ["BENCH_RUNTIME"]
QUIET = {"access": {"enabled": False}}


@bentoml.service(workers=1, logging=QUIET)
class Plain:
    def __init__(self) -> None:
        self.score = open_model(RUNTIME)

    @bentoml.api
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return self.score(inputs)


@bentoml.service(workers=1, logging=QUIET)
class Batching:
    def __init__(self) -> None:
        self.score = open_model(RUNTIME)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return self.score(inputs)
