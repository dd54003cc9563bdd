"""`make test-engine` without an engine: the command that it starts one with, and what it takes for a fault."""

from pathlib import Path

import pytest
from tests.engine.start import BYTES_PER_TOKEN, CACHE_GIB, CONFIG, Served, cache_tokens, command, misread

from plimsoll_estimator import EngineArgs, EngineVersion, HfConfig, Prepared, gpu_from, prepare
from plimsoll_estimator.kv_cache import KvCacheLayout

SERVED = Served(ready_s=60.0, completed=16, cache_tokens=1048576, status=0)
READ = {"ready": True, "release": "0.32.0", "kv_cache_tokens": {"logged": 1048576}}
METRICS = """vllm:generation_tokens_total{engine="0",model_name="acme/tiny"} 16.0
vllm:cache_config_info{block_size="128",cache_dtype="auto",num_gpu_blocks="8192"} 1.0
"""


@pytest.mark.parametrize("release", ["0.10.2", "0.19.1", "0.32.0"])
def test_the_command_is_the_rendered_one_with_the_mount_as_a_folder(release: str, tmp_path: Path) -> None:
    argv = command(release, 9001, tmp_path)
    assert argv[:5] == (str(tmp_path / "tiny"), "--served-model-name", "acme/tiny", "--port", "9001")
    assert {"--dtype=float32", "--tensor-parallel-size=1", "--max-model-len=1024", "--max-num-seqs=8", "--enforce-eager"} <= set(argv)


def test_the_cache_that_is_waited_for_is_that_of_the_estimator() -> None:
    given = EngineArgs(dtype="float32", max_model_len=1024, enforce_eager=True)
    found = prepare(HfConfig(CONFIG), given, gpu_from("NVIDIA-L4"), EngineVersion(0, 32))
    assert isinstance(found, Prepared)
    assert isinstance(found.layout, KvCacheLayout)
    assert found.layout.kv_block_bytes == (found.layout.block_size * BYTES_PER_TOKEN,)
    assert SERVED.cache_tokens == (CACHE_GIB << 30) // BYTES_PER_TOKEN


def test_the_cache_s_tokens_are_read_and_a_completion_must_be_counted() -> None:
    assert cache_tokens(METRICS) == SERVED.cache_tokens
    with pytest.raises(RuntimeError, match="completion"):
        cache_tokens(METRICS.replace("16.0", "0.0"))


def test_what_observe_reads_otherwise_is_a_fault() -> None:
    assert misread(READ, "0.32.0", SERVED) == []
    assert misread(READ | {"ready": False}, "0.32.0", SERVED) == ["observe reads ready False, where it is True"]
    assert misread(READ, "0.19.1", SERVED) == ["observe reads release 0.32.0, where it is 0.19.1"]
