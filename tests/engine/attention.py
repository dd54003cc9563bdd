"""Asks one vLLM release which attention backends it takes by name: its own classes, kind of model by kind, card by card. No engine starts.

    make engine-attention ENGINE=VENV/bin/python RELEASE=0.32.0

writes tests/data/attention_backends/RELEASE.json. Run inside a Python that has the release's CPU build; stand_in.py has the GPU and what is
compiled for it. The answer is the release's AttentionBackend.validate_configuration (asked by platforms/cuda.py: get_attn_backend_cls) of
every member of its enum, and, where none is named, the first of its own list that it takes. What neither the build nor a stand-in can
import is written down as not asked, never as refused. tests/plimsoll_estimator/releases/test_backends_by_name.py holds Plimsoll to it.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import sys
import types
from typing import Any

from oracle import prepare
from stand_in import Card, put_in

CAPABILITIES = ((7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0), (12, 1))
_LATENT = {"head_size": 576, "use_mla": True, "qk_nope_head_dim": 128}
_SPARSE = {**_LATENT, "use_sparse": True, "index_topk": 2048}
KINDS: dict[str, dict[str, Any]] = {
    "heads of 64": {"head_size": 64},
    "heads of 80": {"head_size": 80},
    "heads of 96": {"head_size": 96},
    "heads of 128": {"head_size": 128},
    "heads of 256": {"head_size": 256},
    "heads of 512": {"head_size": 512},
    "heads of 300": {"head_size": 300},
    "float32": {"head_size": 128, "dtype": "float32"},
    "fp8 cache": {"head_size": 128, "kv_cache_dtype": "fp8"},
    "fp8_e5m2 cache": {"head_size": 128, "kv_cache_dtype": "fp8_e5m2"},
    "fp8 cache, heads of 96": {"head_size": 96, "kv_cache_dtype": "fp8"},
    "sinks": {"head_size": 64, "has_sink": True},
    "sinks, fp8 cache": {"head_size": 64, "has_sink": True, "kv_cache_dtype": "fp8"},
    "sliding window": {"head_size": 128, "has_sliding_window": True},
    "image prefix": {"head_size": 256, "use_mm_prefix": True},
    "image prefix, heads of 512": {"head_size": 512, "use_mm_prefix": True},
    "encoder only": {"head_size": 64, "attn_type": "encoder_only"},
    "encoder": {"head_size": 64, "attn_type": "encoder"},
    "cross": {"head_size": 64, "attn_type": "encoder_decoder"},
    "latent": _LATENT,
    "latent, fp8 cache": {**_LATENT, "kv_cache_dtype": "fp8"},
    "latent, float16": {**_LATENT, "dtype": "float16"},
    "latent of 64": {**_LATENT, "qk_nope_head_dim": 64, "head_size": 288},
    "latent of 192": {**_LATENT, "qk_nope_head_dim": 192},
    "latent of 96": {**_LATENT, "qk_nope_head_dim": 96},
    "sparse latent": _SPARSE,
    "sparse latent, fp8 cache": {**_SPARSE, "kv_cache_dtype": "fp8"},
    "sparse latent, packed cache": {**_SPARSE, "kv_cache_dtype": "fp8_ds_mla"},
    "sparse latent of 192": {**_SPARSE, "qk_nope_head_dim": 192},
}
"""What a model asks of its backend, in the words of AttentionSelectorConfig and of the keys of config.json that classes look at."""
ORDINARY: dict[str, Any] = {
    "dtype": "bfloat16",
    "kv_cache_dtype": "auto",
    "block_size": None,
    "use_mla": False,
    "has_sink": False,
    "use_sparse": False,
    "use_mm_prefix": False,
    "use_per_head_quant_scales": False,
    "attn_type": "decoder",
    "has_sliding_window": False,
    "use_non_causal": False,
    "use_batch_invariant": False,
    "use_kv_connector": False,
    "use_pcp": False,
    "use_dcp": False,
    "use_adaptive_verification": False,
    "use_rswa": False,
}


def _registry() -> Any:
    for name in ("vllm.v1.attention.backends.registry", "vllm.attention.backends.registry"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise SystemExit("this release validates no backend by name")


def _on_the_cpu() -> None:
    """Workspaces that modules make on the GPU as they are imported."""
    import torch

    for name in ("zeros", "empty"):
        real = getattr(torch, name)
        setattr(torch, name, lambda *sizes, real=real, **options: real(*sizes, **{**options, "device": "meta"}))


def _configure(kind: dict[str, Any]) -> None:
    """The configuration that classes look at beside what they are asked."""
    import vllm.config

    text = types.SimpleNamespace(
        qk_nope_head_dim=kind.get("qk_nope_head_dim", 1), kv_lora_rank=kind["head_size"] - 64, qk_rope_head_dim=64, num_attention_heads=32
    )
    if "index_topk" in kind:
        text.index_topk = kind["index_topk"]
    config = types.SimpleNamespace(
        model_config=types.SimpleNamespace(
            hf_text_config=text,
            hf_config=text,
            model="model",
            max_model_len=8192,
            is_hybrid=False,
            is_diffusion=False,
            is_mm_prefix_lm=kind.get("use_mm_prefix", False),
            get_head_size=lambda: kind["head_size"],
            get_num_attention_heads=lambda *_: 32,
            get_num_kv_heads=lambda *_: 8,
        ),
        attention_config=getattr(vllm.config, "AttentionConfig", types.SimpleNamespace)(),
        parallel_config=types.SimpleNamespace(decode_context_parallel_size=1, prefill_context_parallel_size=1, tensor_parallel_size=1),
        cache_config=types.SimpleNamespace(cache_dtype=kind.get("kv_cache_dtype", "auto"), block_size=16),
        speculative_config=None,
    )
    for module in [module for name, module in sys.modules.items() if name.startswith("vllm")]:
        for name in ("get_current_vllm_config", "get_current_vllm_config_or_none"):
            if name in vars(module):
                setattr(module, name, lambda config=config: config)


def _asked(kind: dict[str, Any], major: int, minor: int, function: Any) -> dict[str, Any]:
    import torch
    from vllm.platforms.interface import DeviceCapability

    found = {**ORDINARY, **kind, "device_capability": DeviceCapability(major, minor)}
    found["dtype"] = getattr(torch, found["dtype"])
    return {name: found[name] for name in inspect.signature(function).parameters if name in found}


def _why(member: Any, kind: dict[str, Any], major: int, minor: int) -> str | None:
    """Why the release does not take the named backend, empty where it does, None where that cannot be asked here."""
    try:
        chosen = member.get_class()
    except ValueError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  whatever is missing here is no answer of the release's
        print(f"{member.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    _configure(kind)
    try:
        return "; ".join(chosen.validate_configuration(**_asked(kind, major, minor, chosen.validate_configuration)))
    except Exception as error:  # noqa: BLE001  it asks for what no card of this maker says
        print(f"{member.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def _listed(kind: dict[str, Any], major: int, minor: int) -> list[str]:
    """The release's own list for a card, where no backend is named."""
    from vllm.platforms import cuda

    function = cuda._get_backend_priorities
    heads = {"num_heads": 128} if "num_heads" in inspect.signature(function).parameters else {}
    return [member.name for member in function(**{**_asked(kind, major, minor, function), **heads})]


def answers(major: int, minor: int) -> dict[str, Any]:
    """By kind of model: why a name is not taken on this card, empty where it is; and the one that is taken without any."""
    put_in(Card(name="GPU", major=major, minor=minor, total=80 << 30))
    members = list(_registry().AttentionBackendEnum.__members__.values())
    found: dict[str, Any] = {}
    for name, kind in KINDS.items():
        whys = {member.name: _why(member, kind, major, minor) for member in members}
        found[name] = {"whys": whys, "unnamed": next((one for one in _listed(kind, major, minor) if whys[one] == ""), "")}
    return found


def _on_a_card(major: int, minor: int) -> dict[str, Any]:
    """The answers of a child, so that nothing that vLLM remembers of a card outlives it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.redirect_stdout(io.StringIO()), os.fdopen(write, "w") as told:
            json.dump(answers(major, minor), told)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    if os.waitpid(child, 0)[1] or not text:
        raise SystemExit(f"no answers for compute capability {major}.{minor}")
    said: dict[str, Any] = json.loads(text)
    return said


def table(release: str, cards: dict[str, Any]) -> dict[str, Any]:
    """By name and kind of model the cards on which it is taken, and on which it could not be asked; nothing where there are none."""
    names = next(iter(next(iter(cards.values())).values()))["whys"]
    found: dict[str, Any] = {"release": release, "names": sorted(names), "taken": {}, "not_asked": {}, "unnamed": {}}
    for answer, place in (("", "taken"), (None, "not_asked")):
        for name in sorted(names):
            by_kind = {kind: " ".join(card for card in cards if cards[card][kind]["whys"][name] == answer) for kind in KINDS}
            found[place][name] = {kind: where for kind, where in by_kind.items() if where}
        found[place] = {name: kinds for name, kinds in found[place].items() if kinds}
    for kind in KINDS:
        found["unnamed"][kind] = {card: cards[card][kind]["unnamed"] for card in cards}
    return found


def main() -> int:
    """Every card, one after the other."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    release, sys.argv = sys.argv[1], ["vllm"]
    prepare()
    _on_the_cpu()
    cards = {f"{major}.{minor}": _on_a_card(major, minor) for major, minor in CAPABILITIES}
    out.write(json.dumps(table(release, cards), indent=0) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
