"""Public logs of vLLM 0.8 to 0.27 and its main branch: every figure that a log has is found, with the error of its print, and no other.

`tests/data/engine_logs` has excerpts (only lines that say something; paths, addresses and keys shortened) and `sources.json`, which says
where each is published and the figures as they stand in it, read off by a program that shares nothing with the reader.
"""

import json
import re
from typing import Any

import pytest
from tests.folders import DATA

from plimsoll_estimator import MEMORY_COMPONENTS, EngineLog, read_engine_log

FOLDER = DATA / "engine_logs"
SOURCES: list[dict[str, Any]] = json.loads((FOLDER / "sources.json").read_text("utf-8"))
GIB = 1 << 30
PHRASES = {  # of the line, what it gives
    "weights_bytes": "Model loading took",
    "available_kv_cache_bytes": "Available KV cache memory",
    "cuda_graph_estimate_bytes": "Estimated CUDA graph memory",
}


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.log").read_text("utf-8")


def read(name: str) -> EngineLog:
    return read_engine_log(text_of(name))


def test_the_corpus_is_what_it_says() -> None:
    releases = {".".join(row["release"].split(".")[:2]) for row in SOURCES}
    assert len(SOURCES) >= 20
    assert len(releases) >= 5
    assert {path.stem for path in FOLDER.glob("*.log")} == {row["name"] for row in SOURCES}
    assert all(row["address"].startswith("https://") for row in SOURCES)


@pytest.mark.parametrize("row", SOURCES, ids=[row["name"] for row in SOURCES])
def test_every_figure_of_a_log_is_found(row: dict[str, Any]) -> None:
    found = read(row["name"])
    workers = {worker.worker: worker for worker in found.workers}
    assert workers.keys() == row["workers"].keys()
    for name, figures in row["workers"].items():
        for key, printed in figures.items():
            figure = getattr(workers[name], key)
            assert figure is not None, (name, key)
            decimals = max(2, len(printed.partition(".")[2]))
            assert figure.value_bytes == pytest.approx(float(printed) * GIB, abs=1), (name, key)
            assert figure.off_by_bytes == pytest.approx(GIB / (2 * 10**decimals), abs=1), (name, key)
    assert found.version == row["version"]
    assert (found.kv_cache_tokens, found.max_concurrency) == (row["kv_cache_tokens"], row["max_concurrency"])
    times = {key: value for key in row["times"] if (value := getattr(found.times, key)) is not None}
    assert times == pytest.approx(row["times"])
    assert found.ready == row["ready"]
    assert found.starts == 1
    assert found.model


@pytest.mark.parametrize("row", SOURCES, ids=[row["name"] for row in SOURCES])
def test_why_an_engine_ended_is_found_and_nothing_where_it_did_not(row: dict[str, Any]) -> None:
    failure, expected = read(row["name"]).failure, row.get("failure")
    assert (failure is None) == (expected is None)
    if failure is not None and expected is not None:
        assert failure.cause == expected["cause"]
        assert not failure.serving
        if "needed_gib" in expected:
            assert failure.needed_bytes is not None
            assert failure.needed_bytes.value_bytes == pytest.approx(float(expected["needed_gib"]) * GIB, abs=1)
        assert failure.max_model_len == expected.get("max_model_len")


def test_no_line_of_the_corpus_that_has_a_figure_is_passed_over() -> None:
    """Counted in the text itself: as many workers say it as are read."""
    for row in SOURCES:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", text_of(row["name"])).splitlines()
        for key, phrase in PHRASES.items():
            said = {line.split(" INFO ")[0].replace("RayWorkerWrapper", "Worker") for line in lines if phrase in line}
            found = [worker for worker in read(row["name"]).workers if getattr(worker, key) is not None]
            assert len(found) == len({re.sub(r"\d\d-\d\d.*", "", head) for head in said}), (row["name"], key)


def test_arguments_and_configuration_are_values() -> None:
    found = read("glm51-nvfp4-tp8-0.20.2")
    arguments, config = dict(found.arguments or ()), dict(found.config)
    assert arguments["tensor_parallel_size"] == 8
    assert arguments["gpu_memory_utilization"] == 0.865
    assert arguments["enable_prefix_caching"] is True
    assert arguments["served_model_name"] == ["GLM-5"]
    assert arguments["quantization"] == "modelopt_fp4"
    assert (config["tensor_parallel_size"], config["dtype"], config["max_seq_len"]) == (8, "bfloat16", 202752)
    old = read("r1-qwen-14b-0.8.5")
    assert dict(old.arguments or ())["max_model_len"] == 32768
    assert dict(read("qwen36-35b-mtp-gb10-0.25.1").arguments or ())["speculative_config"] == {"method": "mtp", "num_speculative_tokens": 3}


def test_what_only_follows_from_several_lines() -> None:
    """The graphs' estimate counts as taken off where the log says so; non-torch and activations come out of what newer releases add up."""
    found = read("qwen38-27b-exl3-main-2026-09")
    (worker,) = found.workers
    gib = {key: figure.value_bytes / GIB for key in MEMORY_COMPONENTS if (figure := getattr(worker, key)) is not None}
    assert gib == pytest.approx(
        {
            "weights_bytes": 10.24,
            "activation_bytes": 0.79 - 0.06,
            "cuda_graph_bytes": 0.06,
            "non_torch_bytes": 10.47 - 10.24,
            "available_kv_cache_bytes": 3.01,
            "cuda_graph_pool_bytes": 0.04,
        },
        abs=1e-6,
    )
    assert worker.non_torch_bytes is not None
    assert worker.non_torch_bytes.off_by_bytes == pytest.approx(0.01 * GIB, abs=2)
    assert found.max_model_len == 172032, "what it was fitted to, not what the model could"
    assert found.release is None, "a build without a tag has no release's number"
    assert found.gpu_memory_utilization == 0.92


def test_memory_that_came_back_is_no_graph() -> None:
    found = read("llama3-8b-h200-0.11.2")
    assert found.dropped == ("cuda_graph_pool_bytes -0.41 of DP0 cannot be and is left out",)
