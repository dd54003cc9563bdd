"""The weights of a separate draft model, which vLLM loads beside the target and counts in "Model loading took".

Called by `estimate`. Prediction modules inside the target's own checkpoint (mtp) are the business of `weights`.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.overhead.shape import model_shape
from plimsoll_estimator.resolve.quantization import resolve_quantization
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import ceil_div
from plimsoll_estimator.weights import weights_per_stage


def draft_weights_bytes(resolved: ResolvedArgs) -> int:
    """Bytes of the draft model on each rank of the last stage; 0 without one. Raises as `weights` does for the draft's class.

    EAGLE heads (vLLM models/llama_eagle*.py) share the target's embedding, keep an output head over their own vocabulary, and
    add a projection of the target's hidden states.
    """
    config = resolved.given.speculative_model_config
    if config is None or not resolved.num_speculative_tokens or resolved.given.speculative_method == "mtp":
        return 0
    architecture = config.architecture
    eagle = "Eagle" in architecture
    if eagle:
        stand_in = {**config.as_mapping(), "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
        stand_in["vocab_size"] = config.int("draft_vocab_size", "vocab_size")
        config = HfConfig(stand_in, config.path)
    version, gpu = resolved.version, resolved.gpu
    draft = replace(
        resolved,
        architecture=config.architecture,
        quantization=resolve_quantization(config, config.architecture, None, gpu, version, resolved.dtype),
        pipeline_parallel_size=1,
        num_speculative_tokens=0,
        enable_expert_parallel=False,
    )
    total = weights_per_stage(config, draft)[0].loaded_bytes
    if eagle:
        shape = model_shape(config, draft)
        states = 3 if "3" in architecture else 2
        total += states * shape.hidden_size * shape.hidden_size * 2
        if states == 3:
            total += shape.hidden_size * ceil_div(shape.query_width + 2 * shape.kv_width, draft.tensor_parallel_size) * 2
    return total
