"""Whether the attention backend that a user names runs the model on the GPU, in the release.

Called by `keeps`. Follows CudaPlatform.get_attn_backend_cls (platforms/cuda.py), which asks the named backend first and ends the start
with "Selected backend ... is not valid for this configuration", and AttentionBackend.validate_configuration (v1/attention/backend.py).
What each backend takes is `attention_backends`'; of an fp8 cache `fp8_cache` has the say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from plimsoll_estimator.attention_backends import BackendRule, backend_rules
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, Remedy, Unsupported
from plimsoll_estimator.layers.fp8_cache import AskedOfBackend, Fp8Rules, is_fp8, sees_image_prefix
from plimsoll_estimator.mixers import Latent
from plimsoll_estimator.units import dotted

_LATENT_ONLY: Final = "it computes latent attention (MLA) only, which the model does not have"
_LEFT_OUT: Final = Remedy(words="name no attention backend", argument="attention_backend", value="")


def check_named_backend(asked: AskedOfBackend, version: EngineVersion, fp8: Fp8Rules) -> None:
    """Raises EngineRefusal(NoAttentionBackend) where ordinary attention does not run by the named backend, Unsupported where unknown."""
    prefix = sees_image_prefix(asked, fp8)
    _judge(asked.named, version, lambda rule: _ordinary_lacks(asked, rule, prefix=prefix))
    if asked.named == "FLASHINFER" and not asked.flashinfer:
        raise _refusal(asked.named, "it is not installed")


def check_named_latent_backend(named: str | None, mixer: Latent, capability: int, dtype: str, version: EngineVersion) -> None:
    """The same of latent attention."""
    _judge(named, version, lambda rule: latent_lacks(mixer, rule, capability, dtype))


def latent_lacks(mixer: Latent, rule: BackendRule, capability: int, dtype: str) -> str:
    """Why the rule does not take latent attention, empty where it does."""
    reasons = (
        (not rule.latent, "it does not compute latent attention (MLA)"),
        (bool(mixer.index_head_dim) is not rule.sparse, "it is for sparse attention" if rule.sparse else "it has no sparse attention"),
        (
            rule.nope_dims is not None and mixer.qk_nope_head_dim not in rule.nope_dims,
            f"it does not have heads of {mixer.qk_nope_head_dim} dimensions that no position turns (qk_nope_head_dim)",
        ),
    )
    why = next((why for holds, why in reasons if holds), "")
    return why or _lacks(capability, dtype, frozenset({mixer.kv_lora_rank + mixer.qk_rope_head_dim}), rule)


def check_named_sparse_cache(named: str | None, cache_dtype: str, version: EngineVersion) -> None:
    """The same of the cache that sparse latent attention is to keep."""

    def lacks(rule: BackendRule) -> str:
        refused = is_fp8(cache_dtype) and rule.cache_dtypes is not None and cache_dtype not in rule.cache_dtypes
        return f"it does not keep a cache of {cache_dtype}" if refused else ""

    _judge(named, version, lacks)


def check_named_encoder_backend(named: str | None, heads: frozenset[int], capability: int, dtype: str, version: EngineVersion) -> None:
    """The same of a model whose tokens attend both ways."""

    def lacks(rule: BackendRule) -> str:
        if rule.latent:
            return _LATENT_ONLY
        return _lacks(capability, dtype, heads, rule) or ("" if rule.encodes else "it does not run models that attend both ways")

    _judge(named, version, lacks)


def _ordinary_lacks(asked: AskedOfBackend, rule: BackendRule, *, prefix: bool) -> str:
    """Why the rule does not take ordinary attention, empty where it does."""
    if rule.latent:
        return _LATENT_ONLY
    major = asked.capability // 10
    reasons = (
        (asked.sinks and major not in rule.sinks, "it has no attention sinks on this GPU"),
        (
            asked.sinks and asked.flash_version is not None and asked.flash_version not in rule.sink_versions,
            f"version {asked.flash_version} of FlashAttention, which is asked for, has no attention sinks",
        ),
        (prefix and not _lets_images_see(rule, major, asked.head_sizes), "it does not let image tokens attend to one another"),
        (asked.crosses and not rule.crosses, "it does not attend to an encoder"),
    )
    return _lacks(asked.capability, asked.dtype, asked.head_sizes, rule) or next((why for holds, why in reasons if holds), "")


def _lets_images_see(rule: BackendRule, major: int, heads: frozenset[int]) -> bool:
    return rule.image_prefix or (major in rule.large_prefix_majors and min(heads, default=0) > rule.most_head)


def _lacks(capability: int, dtype: str, heads: frozenset[int], rule: BackendRule) -> str:
    """What the GPU, the dtype of the activations or the heads lack."""
    major = capability // 10
    if rule.majors is not None and major not in rule.majors:
        cards = " and ".join(f"{major}.x" for major in sorted(rule.majors))
        return f"it needs a GPU of compute capability {cards}, and this one has {dotted(capability)}"
    if not rule.least <= capability <= rule.most:
        needs = f"{dotted(rule.least)} or more" if capability < rule.least else f"{dotted(rule.most)} or less"
        return f"it needs a GPU of compute capability {needs}, and this one has {dotted(capability)}"
    others = sorted(head for head in heads if not _takes_head(head, major, rule))
    if rule.latent and others:
        return f"it does not keep vectors of {' and '.join(map(str, others))} a token"
    if others:
        return f"it has no heads of {' and '.join(map(str, others))}"
    return "" if dtype in rule.dtypes else f"it does not compute in {dtype}"


def _takes_head(head: int, major: int, rule: BackendRule) -> bool:
    if head % rule.head_step or head < rule.least_head:
        return False
    most = 512 if major in rule.large_head_majors else rule.most_head
    return head <= max(most, rule.most_head) and (rule.heads is None or head in rule.heads)


def _judge(named: str | None, version: EngineVersion, lacks: Callable[[BackendRule], str]) -> None:
    """Refuses what every rule that the release may have refuses, and doubts what one of them does."""
    if not named:
        return
    whys = [lacks(rule) for rule in backend_rules(named, version)]
    if whys and all(whys):
        raise _refusal(named, whys[0])
    if not whys:
        raise Unsupported(
            Check.NO_ATTENTION_BACKEND, f"what the attention backend {named} runs in vLLM {version} has no rule yet", (_LEFT_OUT,)
        )
    if any(whys):
        why = next(filter(None, whys))
        raise Unsupported(
            Check.NO_ATTENTION_BACKEND,
            f"it is not known whether the attention backend {named} runs here in vLLM {version}: {why}",
            (_LEFT_OUT,),
        )


def _refusal(named: str, why: str) -> EngineRefusal:
    return EngineRefusal(Check.NO_ATTENTION_BACKEND, f"the attention backend {named} does not run this model here: {why}", (_LEFT_OUT,))
