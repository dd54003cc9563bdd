"""What loading holds beside the weights that stay, where vLLM quantises a checkpoint that is not: originals not dropped yet.

Called by `weights`. Follows quantization/fp8.py and quantization/online/ (0.8.0 to 0.33.0). Knows no layer and no free memory.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.mixers import Experts, Mlp
from plimsoll_estimator.quantization.releases import stored_rules
from plimsoll_estimator.quantization.settings import quantization_config
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.shape import Shape
from plimsoll_estimator.units import ceil_div

_METHODS: Final = frozenset({"fp8", "fp8_per_tensor", "fp8_per_channel", "fp8_per_block", "mxfp8", "int8_per_channel_weight_only"})
_ORIGINAL: Final = 2  # such models are float16 or bfloat16


def originals_bytes(config: HfConfig, shape: Shape, resolved: ResolvedArgs, created_bytes: int, loaded_bytes: int) -> int:
    """The most that one rank holds beside its `loaded_bytes` while it loads; 0 where the checkpoint is quantised, or nothing is.

    The originals of quantised modules weigh twice what is made of them, so `created_bytes` exceeds `loaded_bytes` by that much.
    """
    if resolved.quantization not in _METHODS or "quant_method" in quantization_config(config):
        return 0
    quantised, largest = max(0, created_bytes - loaded_bytes), _largest_module(shape, resolved)
    when = stored_rules(resolved.version).quantises_online
    if when == "after loading":
        return quantised + largest
    return 2 * quantised if when == "beside" else _ORIGINAL * largest


def _largest_module(shape: Shape, resolved: ResolvedArgs) -> int:
    """Weights of the largest merged matrix on a rank: experts of one layer, or gate and up."""
    hidden, ranks = shape.size.hidden_size, resolved.tensor_parallel_size
    sizes = [0]
    for layer in shape.kinds:
        if isinstance(layer.ffn, Mlp):
            sizes.append(2 * hidden * ceil_div(layer.ffn.width, ranks))
        elif isinstance(layer.ffn, Experts):
            sizes.append(3 * hidden * ceil_div(layer.ffn.width * layer.ffn.count, ranks * resolved.data_parallel_size))
    return max(sizes)
