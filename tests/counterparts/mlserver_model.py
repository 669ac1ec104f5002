"""A model for MLServer: it answers with the tensors that it gets. It runs in MLServer's process, not in ours."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Echo(MLModel):
    """Answers with its inputs."""

    async def load(self) -> bool:
        """Be ready (mlserver.MLModel)."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The outputs for some inputs (mlserver.MLModel)."""
        outputs = [
            ResponseOutput(name=each.name, datatype=each.datatype, shape=each.shape, data=each.data)
            for each in payload.inputs
        ]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)
