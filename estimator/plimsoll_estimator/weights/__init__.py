"""Bytes of weights per rank, as vLLM's model classes allocate them and as "Model loading took" logs them."""

from plimsoll_estimator.weights.door import weights_per_stage

__all__ = ["weights_per_stage"]
