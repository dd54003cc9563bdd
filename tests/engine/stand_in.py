"""A GPU that is not there, for the configuration code of a vLLM release: the one place that says what is stood in for, and by what.

Imported by oracle.py inside the Python that has the release. Nothing here decides what vLLM takes: the platform answers what a driver
would (name, memory, capability, number of cards), and what was compiled for GPUs is an empty module. A rule that asks compiled code about
itself gets the answer that the release's own image gives, named below.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from dataclasses import dataclass
from typing import Any

COMPILED = (
    "vllm._C",
    "vllm._C_stable_libtorch",
    "vllm._moe_C",
    "vllm._moe_C_stable_libtorch",
    "vllm._flashmla_C",
    "vllm._flashmla_extension_C",
    "vllm.cumem_allocator",
    "vllm.vllm_flash_attn",
    "vllm.third_party.flashmla",
)
"""The release's CUDA extensions."""
ABSENT = ("cutlass", "cuda", "tvm_ffi", "quack", "flashinfer", "flashinfer_cubin", "torchvision", "cv2", "deep_gemm", "tokenspeed_mla")
"""Packages of the image that need a GPU, or that no rule of a configuration looks into."""
COMPILED_OPS = ("_C", "_moe_C", "_vllm_fa", "_qutlass_C", "_flashmla_C")
"""Namespaces of torch.ops that the extensions would fill."""
CARDS = 8


@dataclass(frozen=True)
class Card:
    """What a driver says of a GPU. `total` in bytes as CUDA reports it."""

    name: str
    major: int
    minor: int
    total: int


class _Anything(type):
    """A class whose attributes, items and calls are again such classes."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})

    def __getitem__(cls, _: Any) -> Any:
        return cls

    def __call__(cls, *args: Any, **_: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else _Anything("value", (), {})


class _Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the named modules, and all below them, as empty ones."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if any(fullname == name or fullname.startswith(f"{name}.") for name in self.names):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__dict__.update(__version__="99.0", __path__=[], __getattr__=_missing)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _Op:
    """A compiled operator: it has a name, says yes where it is asked what it supports, and cannot be run."""

    def __init__(self, name: str) -> None:
        self._name = self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Op(f"{self._name}.{name}")

    def __call__(self, *_: Any, **__: Any) -> Any:
        if "support" in self._name:
            return True
        raise RuntimeError(f"{self._name} is compiled for GPUs and not here")


class _Machine:
    """The card that is in: what has been imported keeps its platform, so a change of cards is a change of what that says."""

    card = Card(name="NVIDIA H100 80GB HBM3", major=9, minor=0, total=79 << 30)


def put_in(card: Card) -> None:
    """Make vLLM, and what PyTorch and Triton say to it, see eight such cards on one node."""
    _Machine.card = card


def stand_in() -> None:
    """Before vLLM is imported: its compiled parts, the packages that need a GPU, and what speaks for the machine."""
    sys.meta_path.insert(0, _Empty(COMPILED))
    sys.meta_path.append(_Empty(ABSENT))  # last: what is installed wins
    _stand_in_for_operators()
    _stand_in_for_the_host()
    _stand_in_for_torch()
    _stand_in_for_triton()
    _stand_in_for_flash_attention()
    import vllm.platforms as platforms

    platforms._current_platform = _platform()()


def _stand_in_for_the_host() -> None:
    """A node with memory for every swap space: whether it has enough is no rule of the engine's."""
    import psutil

    here = psutil.virtual_memory()
    psutil.virtual_memory = lambda: here._replace(total=4 << 40, available=4 << 40)


def count_cards() -> None:
    """After vLLM is imported: whoever took the function that counts cards by its name has one that asks a driver."""
    for name, module in list(sys.modules.items()):
        if name.startswith("vllm") and "cuda_device_count_stateless" in vars(module):
            module.__dict__.update(cuda_device_count_stateless=lambda: CARDS)


def _stand_in_for_operators() -> None:
    import torch

    real_attribute = torch._ops._OpNamespace.__getattr__
    real_fake = torch.library.register_fake

    def attribute(self: Any, name: str) -> Any:
        try:
            return real_attribute(self, name)
        except AttributeError:
            if self.name.startswith(COMPILED_OPS) and not name.startswith("__"):
                return _Op(name)
            raise

    def register(op: Any, func: Any = None, /, **options: Any) -> Any:
        if isinstance(op, str) and op.startswith(COMPILED_OPS):
            return (lambda given: given) if func is None else func
        return real_fake(op, func, **options) if func else real_fake(op, **options)

    torch._ops._OpNamespace.__getattr__ = attribute
    torch.library.register_fake = register


def _runs_flash_attention(version: int) -> bool:
    """2 from Ampere on, 3 on Hopper, 4 on Hopper and data centre Blackwell (vllm_flash_attn's own table)."""
    major = _Machine.card.major
    return {2: major >= 8, 3: major == 9, 4: major in (9, 10, 11)}.get(version, False)


def _stand_in_for_flash_attention() -> None:
    interface = types.ModuleType("vllm.vllm_flash_attn.flash_attn_interface")
    answers = {
        "FA2_AVAILABLE": True,
        "FA3_AVAILABLE": True,
        "is_fa_version_supported": lambda version, *_, **__: _runs_flash_attention(version),
        "fa_version_unsupported_reason": lambda version, *_, **__: None if _runs_flash_attention(version) else "not on this card",
    }
    interface.__dict__.update(answers, __getattr__=_missing)
    package = types.ModuleType("vllm.vllm_flash_attn")
    package.__dict__.update(answers, __path__=[], flash_attn_interface=interface, __getattr__=_missing)
    sys.modules.update({package.__name__: package, interface.__name__: interface})


def _missing(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Anything(name, (), {})


def _properties() -> types.SimpleNamespace:
    card = _Machine.card
    return types.SimpleNamespace(
        name=card.name,
        major=card.major,
        minor=card.minor,
        total_memory=card.total,
        multi_processor_count=132,
        shared_memory_per_block_optin=232448,
        warp_size=32,
        is_integrated=False,
    )


def _stand_in_for_torch() -> None:
    import torch

    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: CARDS
    torch.cuda.current_device = lambda: 0
    torch.cuda.get_device_properties = lambda *_: _properties()
    torch.cuda.get_device_capability = lambda *_: (_Machine.card.major, _Machine.card.minor)
    torch.cuda.get_device_name = lambda *_: _Machine.card.name
    torch.cuda.mem_get_info = lambda *_: (_Machine.card.total, _Machine.card.total)
    torch.cuda.set_device = lambda *_: None


def _stand_in_for_triton() -> None:
    """Kernels of linear attention ask Triton's driver about the card as they are imported."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    properties = {
        "max_shared_mem": 232448,
        "multiprocessor_count": 132,
        "warpSize": 32,
        "max_num_regs": 65536,
        "sm_clock_rate": 0,
        "mem_clock_rate": 0,
        "mem_bus_width": 0,
    }
    active = types.SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", _Machine.card.major * 10 + _Machine.card.minor, 32),
        get_current_device=lambda: 0,
        get_current_stream=lambda *_: 0,
        get_active_torch_device=lambda: sys.modules["torch"].device("cpu"),
        get_device_interface=lambda: sys.modules["torch"].cuda,
        get_benchmarker=lambda: lambda *_, **__: [0.0],
        utils=types.SimpleNamespace(get_device_properties=lambda *_: properties),
    )
    driver.set_active(active)


def _platform() -> type:
    from vllm.platforms import cuda
    from vllm.platforms.interface import DeviceCapability

    said = {
        "get_device_capability": lambda: DeviceCapability(_Machine.card.major, _Machine.card.minor),
        "get_device_name": lambda: _Machine.card.name,
        "get_device_uuid": lambda: "GPU-0",
        "get_device_total_memory": lambda: _Machine.card.total,
        "is_fully_connected": lambda: True,
        "device_count": lambda: CARDS,
        "num_compute_units": lambda: 132,
        "is_integrated_gpu": lambda: False,
        "log_warnings": lambda: None,
        "get_device_numa_node": lambda: None,
        "get_all_device_numa_nodes": lambda: None,
    }
    methods = {name: classmethod(lambda cls, *_, answer=answer, **__: answer()) for name, answer in said.items()}
    return type("StandInPlatform", (cuda.CudaPlatformBase,), methods)
