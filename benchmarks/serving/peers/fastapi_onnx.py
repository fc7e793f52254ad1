"""FastAPI + ONNX Runtime + orjson, and one log line appended without fsync."""

import os
import time
import uuid

import orjson
from fastapi import FastAPI, Request, Response
from session import open_model

score = open_model("onnx")
log = os.open("predictions.ndjson", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> Response:
    rows = orjson.loads(await request.body())["inputs"]
    scores = score(rows).tolist()
    os.write(log, orjson.dumps([str(uuid.uuid4()), time.time(), scores, rows]) + b"\n")
    return Response(orjson.dumps({"scores": scores}), media_type="application/json")
