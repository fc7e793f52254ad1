"""FastAPI + scikit-learn as its documentation shows it: a typed body, an async endpoint, no log."""

from fastapi import FastAPI
from pydantic import BaseModel
from session import open_model

score = open_model("sklearn")
app = FastAPI()


class Rows(BaseModel):
    inputs: list[list[float]]


@app.post("/predict")
async def predict(rows: Rows) -> dict[str, list[float]]:
    return {"scores": score(rows.inputs).tolist()}
