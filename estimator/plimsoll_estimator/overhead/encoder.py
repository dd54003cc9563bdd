"""The vision encoder's own forward pass in the profile run: the peak of one block for the largest image.

Called by `overhead.activation`. The profile run encodes before the language model runs (v1/worker/gpu_model_runner.py:profile_run), so
this peak and the language model's are never there together; only the encoder's outputs are. Refuses to know audio and configs.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import ceil_div

ITEM_TOKENS: Final = 16384  # the largest image of processors that merge patches (vLLM's dummy inputs)
_ITEM: Final = 2  # vLLM casts pixels to the model's dtype before they reach the device; float32 models of this kind are not served


def encoder_peak_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Pixels and the wider of attention and MLP in one block, one rank; 0 where the tower's largest image is not known.

    Elements a patch, all alive at once (0.27.1, model_executor/models/qwen2_5_vl.py, qwen3_vl.py). Attention: its input and its norm;
    queries, keys and values (3); queries and keys made contiguous (2) and turned (2); context; output. A gated MLP: its norm and residual,
    gate and up, their product, the output. A plain one: its input and its norm, both sides of the activation.
    """
    tower = widths.tower
    if tower is None or (widths.deepstack_levels and not overhead_rules(resolved.version).caps_dummy_video):
        return 0
    size, ranks = tower.size, resolved.tensor_parallel_size
    inner = ceil_div(size.intermediate_size, ranks)
    attention = 3 * size.hidden_size + 8 * ceil_div(size.hidden_size, ranks)
    mlp = 3 * size.hidden_size + 3 * inner if tower.gated else 2 * size.hidden_size + 2 * inner
    images = max(1, resolved.max_num_batched_tokens // ITEM_TOKENS)
    patches = images * ITEM_TOKENS * tower.merge**2
    return int(constant("encoder_peak_share", resolved) * patches * (tower.patch_elements + max(attention, mlp)) * _ITEM)
