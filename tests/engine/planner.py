"""Asks one vLLM release what it builds and plans: its classes on the meta device, its KV-cache planner. No engine starts.

    VENV/bin/python planner.py FOLDER RELEASE VERSION < questions > answers

Run by tools/release_planner.py inside a Python with PyTorch and Transformers. RELEASE holds the release's Python files (the package
`vllm`), FOLDER a `config.json` in the folder that each question names. A question is a line of JSON: id, card, folder, engine_args,
available_bytes.
An answer is one too: id, and either `refused` (words) or `created_bytes` of each stage (parameters and buffers as built, before
loading changes them) with the `plan`: num_gpu_blocks, kv_cache_tokens, max_concurrency; without a plan for a model that keeps no cache.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stand_in import Card, put_in, stand_in

WITHOUT_FLASHINFER = "vllm.utils.flashinfer"
COMPILED = "vllm._flashmla_extension_C"
GROUPS = ("_WORLD", "_TP", "_ETP", "_PP", "_DP", "_DCP", "_PCP", "_EP", "_EPLB", "_INNER_DP_WORLD")
MOST_WORDS = 600
MOST_SECONDS = 60
"""For one answer, of the processor's time. The Transformers backend of 0.32.0 follows the router of Dots1 for ever."""


class _Ranks:
    """In place of a process group: its size, and the rank in it."""

    def __init__(self, size: int, rank: int) -> None:
        self._size, self._rank = size, rank

    def size(self) -> int:
        return self._size

    def rank(self) -> int:
        return self._rank


def group(size: int, rank: int, name: str) -> Any:
    """A coordinator of vLLM's own class that knows its size and rank, and talks to nobody."""
    import torch
    from vllm.distributed.parallel_state import GroupCoordinator

    made = GroupCoordinator.__new__(GroupCoordinator)
    ranks, nobody = list(range(size)), _Ranks(size, rank)
    made.__dict__.update(
        rank=rank, ranks=ranks, world_size=size, local_rank=0, rank_in_group=rank, device_index=0, unique_name=name, group_ranks=[ranks],
        cpu_group=nobody, device_group=nobody, device=torch.device("cpu"), use_device_communicator=False, device_communicator=None,
        mq_broadcaster=None, use_custom_op_call=True, use_cpu_custom_send_recv=False, torch_distributed_backend="none",
    )  # fmt: skip
    return made


@contextlib.contextmanager
def on_rank(config: Any, stage: int) -> Iterator[None]:
    """The first tensor-parallel rank of a pipeline stage."""
    from vllm.distributed import parallel_state

    parallel = config.parallel_config
    tp, pp, dp = parallel.tensor_parallel_size, parallel.pipeline_parallel_size, parallel.data_parallel_size
    pcp, dcp = getattr(parallel, "prefill_context_parallel_size", 1), getattr(parallel, "decode_context_parallel_size", 1)
    sizes = {
        "_WORLD": tp * pp,
        "_INNER_DP_WORLD": tp * pp,
        "_PP": pp,
        "_DP": dp,
        "_DCP": dcp,
        "_PCP": pcp,
        "_EP": tp * dp,
        "_EPLB": tp * dp,
    }
    kept = {name: getattr(parallel_state, name) for name in GROUPS if hasattr(parallel_state, name)}
    for name in kept:
        rank = stage if name == "_PP" else stage * tp if name in ("_WORLD", "_INNER_DP_WORLD") else 0
        setattr(parallel_state, name, group(sizes.get(name, tp), rank, name.strip("_").lower()))
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(parallel_state, name, value)


def to_meta() -> Any:
    """Tensors that name a CUDA device are made on the meta device."""
    import torch
    from torch.overrides import TorchFunctionMode

    def there(device: Any) -> Any:
        return torch.device("meta") if isinstance(device, str | torch.device) and str(device).startswith("cuda") else device

    class ToMeta(TorchFunctionMode):  # type: ignore[misc]  # torch is not among the development requirements
        def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if "device" in kwargs:
                kwargs["device"] = there(kwargs["device"])
            if func is torch.Tensor.cuda:
                func, args = torch.Tensor.to, (args[0], torch.device("meta"))
            if func is torch.Tensor.to:
                args = tuple(there(part) for part in args)
            return func(*args, **kwargs)

    return ToMeta()


def first_of(*places: str) -> Any:
    """The first `module:name` that the release has: functions move between releases."""
    said = []
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            said.append(str(error))
    raise RuntimeError(f"the release has none of {', '.join(places)}: {'; '.join(said)}")


def build(config: Any, stage: int) -> tuple[int, dict[str, Any]]:
    """Bytes of one stage as built, and what its layers keep."""
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.platforms import current_platform

    default_dtype = first_of(
        "vllm.utils.torch_utils:set_default_torch_dtype", "vllm.model_executor.model_loader.utils:set_default_torch_dtype"
    )
    specs_of = first_of("vllm.v1.worker.gpu.attn_utils:get_kv_cache_spec")
    config.compilation_config.static_forward_context.clear()
    with set_current_vllm_config(config), on_rank(config, stage):
        with default_dtype(config.model_config.dtype), torch.device("meta"), to_meta():
            model = initialize_model(vllm_config=config)
        if hasattr(current_platform, "update_block_size_for_backend"):
            current_platform.update_block_size_for_backend(config)
        specs = specs_of(config)
    tensors = {id(one): one for one in (*model.parameters(), *model.buffers())}
    return sum(one.numel() * one.element_size() for one in tensors.values()), specs


def plan(config: Any, specs: list[dict[str, Any]], available: int) -> dict[str, Any]:
    """Blocks, tokens and concurrency as the release works them out. Raises its own ValueError where it would not start."""
    utils = importlib.import_module("vllm.v1.core.kv_cache_utils")
    with contextlib.suppress(RuntimeError):
        first_of("vllm.v1.core.single_type_kv_cache_manager:register_all_kvcache_specs")(config)
    resolve_layout(config, specs)
    each = [available] * len(specs)
    try:
        planning = importlib.import_module("vllm.v1.core.kv_cache_planning")
        configs = planning.get_kv_cache_configs(config, specs, each, planning.get_global_kv_cache_groups(config, specs))
    except ImportError:
        configs = utils.get_kv_cache_configs(config, specs, each)
    scheduled = utils.generate_scheduler_kv_cache_config(configs)
    if hasattr(utils, "get_kv_cache_capacity"):
        tokens, concurrency = utils.get_kv_cache_capacity(config, scheduled)
    else:
        concurrency = utils.get_max_concurrency_for_kv_cache_config(config, scheduled)
        tokens = int(concurrency * config.model_config.max_model_len)
    return {"num_gpu_blocks": scheduled.num_blocks, "kv_cache_tokens": tokens, "max_concurrency": concurrency}


def resolve_layout(config: Any, specs: list[dict[str, Any]]) -> None:
    """Releases that choose a layout of the cache do so before they plan."""
    backends = importlib.import_module("vllm.v1.attention.backends.utils")
    if not hasattr(backends, "resolve_kv_cache_layout"):
        return
    layers = config.compilation_config.static_forward_context.values()
    used = list(dict.fromkeys(layer.get_attn_backend() for layer in layers if hasattr(layer, "get_attn_backend")))
    layouts = [layout.name for layout in backends.get_supported_kv_cache_layouts(used)]
    backends.resolve_kv_cache_layout(config, [layouts] * len(specs), [spec for stage in specs for spec in stage.values()])


def _be_the_cuda_build(version: str) -> None:
    """The CPU build's metadata would have vLLM leave Triton's kernels out."""
    of_others = importlib.metadata.version
    importlib.metadata.version = lambda distribution_name: version if distribution_name == "vllm" else of_others(distribution_name)


def _workspace() -> None:
    """What a worker makes before it makes a model."""
    import torch

    with contextlib.suppress(RuntimeError):
        first_of("vllm.v1.worker.workspace:init_workspace_manager")(torch.device("meta"))


class TooLong(BaseException):
    """An answer takes too long. No Exception: the code that is asked lets those go by."""


def _stop(*_: Any) -> None:
    raise TooLong(f"no answer within {MOST_SECONDS} seconds of the processor's time")


def answer(folder: Path, question: dict[str, Any]) -> dict[str, Any]:
    """What the release makes of one case."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext

    given = {"skip_tokenizer_init": True, "load_format": "dummy", "distributed_executor_backend": "mp", **question["engine_args"]}
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    try:
        config = EngineArgs(model=str(folder / question["folder"]), **given).create_engine_config(UsageContext.OPENAI_API_SERVER)
        built = [build(config, stage) for stage in range(config.parallel_config.pipeline_parallel_size)]
        created, specs = [size for size, _ in built], [spec for _, spec in built]
        made = plan(config, specs, question["available_bytes"]) if any(specs) else None
    except (Exception, TooLong) as error:  # noqa: BLE001  whatever it says, it does not start
        return {"refused": f"{type(error).__name__}: {error}"[:MOST_WORDS]}
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return {"created_bytes": created, "plan": made}


def main() -> None:
    """Answer every question; all are about one card."""
    folder, release, version = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    os.environ.update(HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", CUDA_VISIBLE_DEVICES="")
    sys.path.insert(0, release)
    _be_the_cuda_build(version)
    questions = [json.loads(line) for line in sys.stdin if line.strip()]
    stand_in()
    sys.modules[COMPILED] = types.ModuleType(COMPILED)
    put_in(Card(**questions[0]["card"]))
    import torch

    torch.cuda.current_device = torch.accelerator.current_device_index = lambda: torch.device("meta")
    torch.cuda.current_stream = lambda *_: None
    torch.cuda.Stream = torch.cuda.Event = type("Handle", (), {"__init__": lambda self, *_, **__: None})
    # The tables that FlashInfer keeps in float32 are left out of the estimator's bytes as created: they are what an image adds.
    with contextlib.suppress(ImportError):
        setattr(importlib.import_module(WITHOUT_FLASHINFER), "has_flashinfer", lambda: False)  # noqa: B010 - no attribute of every module
    _workspace()
    import vllm.model_executor.models.registry as registry

    registry._run_in_subprocess = lambda asked: asked()
    signal.signal(signal.SIGVTALRM, _stop)
    for question in questions:
        print(json.dumps({"id": question["id"], **answer(folder, question)}), flush=True)


if __name__ == "__main__":
    main()
