"""Host memory and load time: stated allowances, vLLM's own buffers, and ranges that order as storage does."""

from __future__ import annotations

from plimsoll_estimator import catalogue
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.host import MM_CACHE_BYTES, SHARD_BYTES, WORKER_PROCESS_BYTES, checkpoint_bytes, host_memory, load_times
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import GIB, MIB


def resolved(version: str = "0.33.0", **args: object) -> ResolvedArgs:
    config = catalogue.lookup("meta-llama/Llama-3.1-8B-Instruct")
    assert config is not None
    return resolve(config, EngineArgs.from_mapping(args), gpu_from("NVIDIA-H100-80GB-HBM3"), EngineVersion.parse(version))


def test_each_rank_brings_a_process_a_shard_and_its_share_of_shared_memory() -> None:
    one, four = (host_memory(resolved("0.19.0", tensor_parallel_size=tp), multimodal=False) for tp in (1, 4))
    assert four.total_bytes - one.total_bytes == 3 * (WORKER_PROCESS_BYTES + SHARD_BYTES + 256 * MIB)


def test_the_v2_runner_pins_its_token_table() -> None:
    old, new = (host_memory(resolved(v, max_num_seqs=1024, max_model_len=131072), multimodal=False) for v in ("0.19.0", "0.33.0"))
    assert (old.pinned_bytes, new.pinned_bytes) == (0, 1024 * 131072 * 4)


def test_offloaded_weights_and_multimodal_caches_are_host_memory() -> None:
    offloading = host_memory(resolved(cpu_offload_gb=1.5, tensor_parallel_size=2), multimodal=True)
    assert offloading.offload_bytes == 3 * GIB
    assert offloading.multimodal_bytes == 2 * MM_CACHE_BYTES


def test_load_time_is_bytes_over_bandwidth_plus_start_up() -> None:
    disk, volume, hub = load_times(60 * 10**9)
    assert (disk.at_best_seconds, disk.at_worst_seconds) == (25 + 10, 195 + 30)
    assert disk.at_worst_seconds < volume.at_worst_seconds < hub.at_worst_seconds
    assert all(time.at_best_seconds < time.at_worst_seconds for time in (disk, volume, hub))


def test_eager_engines_neither_compile_nor_capture() -> None:
    eager, graphs = load_times(10**9, enforce_eager=True)[0], load_times(10**9)[0]
    assert eager.at_worst_seconds == graphs.at_worst_seconds - 150


def test_bytes_to_read_are_all_ranks_together() -> None:
    assert checkpoint_bytes((10, 12), 2) == 44
