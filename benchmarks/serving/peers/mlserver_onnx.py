"""A custom MLServer runtime on the ONNX session."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from session import open_model


class OnnxModel(MLModel):
    async def load(self) -> bool:
        self.score = open_model("onnx")
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("scores", self.score(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])
