"""The vision encoder's own forward pass in the profile run: the peak of one block for as many of the largest items as a batch takes.

Called by `overhead.activation`. The profile run encodes before the language model runs (v1/worker/gpu_model_runner.py:profile_run), so
this peak and the language model's are never there together; only the encoder's outputs are. Refuses to know audio and configs.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from plimsoll_estimator.overhead.constants import constant
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolved import ResolvedArgs, items_a_prompt
from plimsoll_estimator.shape import LargestItem, TowerBlocks
from plimsoll_estimator.units import ceil_div

ITEM_TOKENS: Final = 16384  # the largest image of processors that merge patches, where no rule says (vLLM's dummy inputs)
_ITEM: Final = 2  # vLLM casts pixels to the model's dtype before they reach the device; float32 models of this kind are not served
_ITEMS_A_PROMPT: Final = 999
_OPEN_TOKENS: Final = 4096
_OPEN_PATCHES: Final = 4
_OPEN_PARTS: Final = 10
_OPEN_WIDTH: Final = 1280
_DATA_CENTRE_BLACKWELL: Final = 10
_IN_PLACE: Final = (3, 3)
_UNFUSED: Final = (4, 3)


class _Widest(NamedTuple):
    """The item with most tokens, and the modality whose limits count it."""

    tokens: int
    patches: int
    modality: str


def encodes(resolved: ResolvedArgs) -> bool:
    """Whether the profile run sends anything through the towers; the V2 runner's does since 0.27 (v1/worker/gpu/model_runner.py)."""
    return not resolved.uses_v2_model_runner or overhead_rules(resolved.version).v2_profiles_encoder


def old_dummy_video(widths: Widths, resolved: ResolvedArgs) -> bool:
    """Whether the profile run encodes Qwen3-VL's video before its frames were capped; not where a prompt may have none."""
    return bool(widths.deepstack_levels) and not overhead_rules(resolved.version).caps_dummy_video and not resolved.admits_none("video")


def encoder_peak_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """Pixels and the wider of attention and MLP in one block, one rank; 0 where the tower's largest image is not known.

    Elements a patch, all alive at once. Attention: `TowerBlocks.attention`; one whose heads do not divide is whole.
    """
    tower = widths.tower
    if tower is None or tower.guessed or not encodes(resolved):
        return 0
    if old_dummy_video(widths, resolved):
        return 0
    return _peak_bytes(tower, resolved)


def doubted_encoder_bytes(widths: Widths, resolved: ResolvedArgs) -> int:
    """What a tower may take that has no rule: were its largest image Qwen's where it merges patches; else, sound too, for as many tokens as
    a batch or an image holds, four patches each, ten times the widest hidden size of the towers that have a rule. 0: nothing is open.
    """
    if not widths.multimodal or not encodes(resolved):
        return 0
    if widths.tower is not None:
        return _peak_bytes(widths.tower, resolved) if widths.tower.guessed else 0
    tokens = max(resolved.max_num_batched_tokens, _OPEN_TOKENS)
    return tokens * _OPEN_PATCHES * _OPEN_PARTS * min(widths.hidden_size, _OPEN_WIDTH) * _ITEM


def _peak_bytes(tower: TowerBlocks, resolved: ResolvedArgs) -> int:
    size, ranks = tower.size, 1 if resolved.given.mm_encoder_tp_mode == "data" else resolved.tensor_parallel_size
    inner = ceil_div(size.intermediate_size, ranks)
    whole, divided = tower.attention
    shares = ranks if size.heads % ranks == 0 else 1
    attention = whole * size.hidden_size + divided * ceil_div(size.hidden_size, shares)
    hidden_parts, inner_parts = _mlp_parts(tower, resolved)
    mlp = hidden_parts * size.hidden_size + inner_parts * inner
    widest = _widest(tower.largest, resolved)
    patches = _items(widest, resolved) * widest.patches
    elements = patches * (tower.patch_elements + max(attention, mlp)) + _mask_elements(tower, patches, resolved)
    return int(constant("encoder_peak_share", resolved) * elements * _ITEM)


def _mlp_parts(tower: TowerBlocks, resolved: ResolvedArgs) -> tuple[int, int]:
    """Hidden and inner sizes of a patch that are there at once in the MLP.

    Gated: its norm and residual, gate and up, their product, the output. Plain: its input and its norm, both sides of the activation.
    Qwen2.5-VL's (models/qwen2_5_vl.py: Qwen2_5_VisionBlock) holds the block's input and attention's output as well where norms are not
    vLLM's kernels, which write in place, but PyTorch's: always up to 0.10.0, then unless eager (config/vllm.py: custom_ops). SiLU is
    apart from the product until it is compiled with it (layers/activation.py: SiluAndMul, compile_native, 0.15).
    """
    if tower.fuses_norm:
        parts = overhead_rules(resolved.version).fused_norm_parts
        return _IN_PLACE if resolved.enforce_eager and parts != _UNFUSED else parts
    return _IN_PLACE if tower.gated else (2, 2)


def output_tokens(widths: Widths, resolved: ResolvedArgs) -> int:
    """Tokens of the largest item that the profile run encodes; 0 for a tower without a rule that merges no patches."""
    if widths.tower is not None:
        return _widest(widths.tower.largest, resolved).tokens
    return ITEM_TOKENS if widths.merges_patches else 0


def _widest(item: LargestItem, resolved: ResolvedArgs) -> _Widest:
    """The item of the modality with most tokens: an image, or a video that fills the length.

    Beside a video whose frames are counted no image is (models/qwen2_vl.py: get_num_frames_with_most_features, from 0.11). Up to 0.10.2 it
    filled the batch (v1/worker/gpu_model_runner.py: _get_mm_dummy_batch, seq_len=self.max_num_tokens).
    """
    if item.frame_tokens and not resolved.admits_none("video"):
        images = 0 if resolved.admits_none("image") else item.tokens
        if item.most_frames is None:
            frames = max(1, (resolved.max_model_len - images) // item.frame_tokens)
        else:
            filled = resolved.max_model_len
            if not overhead_rules(resolved.version).videos_fill_length:
                filled = min(filled, resolved.max_num_batched_tokens)
            frames = max(1, min(item.most_frames, filled // item.frame_tokens))
        if not images or frames * item.frame_tokens > item.tokens:
            return _Widest(frames * item.frame_tokens, frames * item.frame_patches, "video")
    return _Widest(item.tokens, item.patches, "image")


def _items(item: _Widest, resolved: ResolvedArgs) -> int:
    """How many of them the profile run encodes, as the encoder's budget, the sequences and the prompts' limits allow.

    multimodal/encoder_budget.py: _get_max_items (before 0.10.1 in v1/worker/utils.py and gpu_model_runner.py: up to 0.9 rounded up).
    """
    tokens, batch = item.tokens, resolved.max_num_batched_tokens
    fitting = ceil_div(batch, tokens) if overhead_rules(resolved.version).rounds_items_up else batch // tokens
    if fitting <= 1:
        return 1
    limit = items_a_prompt(resolved.given.limit_mm_per_prompt or {}, item.modality)
    a_prompt = max(1, min(_ITEMS_A_PROMPT if limit is None else limit, resolved.max_model_len // tokens))
    return min(fitting, resolved.max_num_seqs * a_prompt)


def _mask_elements(tower: TowerBlocks, patches: int, resolved: ResolvedArgs) -> int:
    """A mask of all patches by all, whole on each rank: without xFormers, which releases up to 0.11 have and do not use on 10.x.

    From 0.29 sequences are packed instead (models/pixtral.py: generate_block_attention_mask, _make_packed_sequence_metadata).
    """
    if not tower.masked:
        return 0
    masks = overhead_rules(resolved.version).masks_patches
    no_xformers = masks == "without xformers" and resolved.gpu.capability // 10 == _DATA_CENTRE_BLACKWELL
    return patches**2 if masks == "always" or no_xformers else 0
