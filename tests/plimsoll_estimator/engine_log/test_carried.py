"""How a log is carried: by kubectl, docker, the container runtime, a terminal, a JSON formatter. What it says stays the same."""

import json

import pytest

from plimsoll_estimator import EngineLog, read_engine_log
from plimsoll_estimator.engine_log.lines import lines_of

GIB = 1 << 30
HEAD = "INFO 11-21 10:00:20 [gpu_model_runner.py:2653] "
SAID = "Model loading took 15.2683 GiB and 8.1 seconds"
LINE = f"(Worker_TP1 pid=12) {HEAD}{SAID}"
USAGE = (
    "Free memory on device (94.06/94.97 GiB) on startup. Desired GPU memory utilization is (0.92, 87.37 GiB). Actual usage is 52.92 GiB "
    "for consumed memory (weights + non-torch), 2.32 GiB for peak activation, and 1.51 GiB for CUDAGraph memory. Replace "
    "gpu_memory_utilization config with `--kv-cache-memory=32723451249` (30.48 GiB) to fit into requested memory, or "
    "`--kv-cache-memory=39903821824` (37.16 GiB) to fully utilize gpu memory. Current kv cache memory in use is 32.13 GiB."
)
RECORD = {
    "asctime": "2026-11-21 10:00:20,1",
    "levelname": "INFO",
    "name": "vllm.x",
    "processName": "Worker_TP1",
    "process": 12,
    "message": SAID,
}
CARRIED = [
    pytest.param(LINE, "TP1", id="as vLLM writes it"),
    pytest.param(f"{HEAD}{SAID}", "", id="without a process, as one GPU of an old release"),
    pytest.param(SAID, "", id="the message alone, as people quote it"),
    pytest.param(f"INFO [gpu_model_runner.py:2653] {SAID}", "", id="without its time"),
    pytest.param(f"INFO 02-07 19:23:56 gpu_model_runner.py:867] {SAID}".replace("867] ", "867] "), "", id="without its opening bracket"),
    pytest.param(f"\x1b[1;36m(Worker_TP1 pid=12)\x1b[0;0m {HEAD}{SAID}", "TP1", id="coloured"),
    pytest.param(f"[1;36m(Worker_TP1 pid=12)[0;0m {HEAD}{SAID}", "TP1", id="coloured once, its escapes lost"),
    pytest.param(
        f"\x1b[0;36m(Worker_TP1 pid=12)\x1b[0;0m \x1b[32mINFO\x1b[0m \x1b[90m11-21 10:00:20\x1b[0m \x1b[90m[a.py:1]\x1b[0m {SAID}",
        "TP1",
        id="all of it coloured",
    ),
    pytest.param(f"2026-11-21T10:00:20.123456789Z {LINE}", "TP1", id="kubectl --timestamps"),
    pytest.param(f"[pod/chat-1/vllm] {LINE}", "TP1", id="kubectl --prefix"),
    pytest.param(f"vllm-1  | {LINE}", "TP1", id="docker compose"),
    pytest.param(f"2026-11-21T10:00:20.1234567890Z stdout F {LINE}"[:30] + "Z stdout F " + LINE, "TP1", id="the runtime's own file"),
    pytest.param(
        f"2026-11-21T10:00:20.123456789Z stdout P {LINE[:60]}\n2026-11-21T10:00:20.123456789Z stdout F {LINE[60:]}",
        "TP1",
        id="cut by the runtime",
    ),
    pytest.param(json.dumps({"log": LINE + "\n", "stream": "stdout", "time": "2026"}), "TP1", id="docker's own file"),
    pytest.param(json.dumps(RECORD), "TP1", id="a JSON formatter"),
    pytest.param(f"(Worker_TP1 pid=12) {json.dumps(RECORD)}", "TP1", id="a JSON formatter behind the process"),
    pytest.param(f"Sep 21 12:50:12 gpu-1 vllm[7]: {LINE}", "TP1", id="the journal"),
    pytest.param(f"Capturing graphs: 100%|██████████| 67/67 [00:20<00:00, 3.31it/s]{LINE}", "TP1", id="behind a progress bar"),
    pytest.param(f"Loading: 50%\rLoading: 100%\r{LINE}\r", "TP1", id="over a progress bar"),
    pytest.param(f"(VllmWorker rank=1 pid=12) {HEAD}{SAID}", "rank 1", id="0.8's name of a worker"),
    pytest.param(f"(VllmWorker TP1 pid=12) {HEAD}{SAID}", "TP1", id="0.10's name of a worker"),
    pytest.param(f"(EngineCore_DP3 pid=9) {HEAD}{SAID}", "DP3", id="an engine of several, with its own GPU"),
    pytest.param(
        f"(EngineCore_DP0 pid=9) (RayWorkerWrapper pid=12, ip=10.0.0.1) {HEAD}{SAID} [repeated 3x across cluster]", "pid 12", id="Ray"
    ),
    pytest.param(f"(Worker_PP1_TP0_EP0 pid=9) {HEAD}{SAID}", "PP1_TP0", id="stage, rank and experts"),
    pytest.param(f"{LINE[:70]}\n{LINE[70:]}", "TP1", id="wrapped by a terminal inside a word"),
    pytest.param(
        f"(Worker_TP1 pid=12) {HEAD}Model loading took\n15.2683 GiB and 8.1 seconds", "TP1", id="wrapped by an editor between words"
    ),
]


@pytest.mark.parametrize(("text", "worker"), CARRIED)
def test_a_line_says_the_same_however_it_is_carried(text: str, worker: str) -> None:
    found = read_engine_log(f"(APIServer pid=1) hello\n{text}\n(EngineCore pid=2) {HEAD}x\n")
    (one,) = found.workers
    assert one.worker == worker
    assert one.weights_bytes is not None
    assert (one.weights_bytes.value_bytes, one.weights_bytes.off_by_bytes) == (round(15.2683 * GIB), 53688)
    assert found.times.load_seconds == 8.1


@pytest.mark.parametrize("width", [72, 80, 100, 133, 200])
def test_the_longest_line_is_read_at_any_width(width: int) -> None:
    line = f"(Worker_PP1_EP0 pid=1749) INFO 09-04 10:06:12 [gpu_worker.py:804] {USAGE}"
    wrapped = "\n".join(line[at : at + width] for at in range(0, len(line), width))
    whole, found = read_engine_log(line), read_engine_log(wrapped)
    assert whole.workers[0].total_bytes is not None
    assert whole.workers[0].stage == 1
    assert found.workers == whole.workers


def start(version: str, weights: str, more: str = "") -> str:
    return (
        f"{HEAD}vLLM API server version {version}\n{HEAD}Model loading took {weights} GiB\n{more}INFO:     Application startup complete.\n"
    )


def test_the_last_start_of_a_text_counts_and_nothing_after_it_has_begun_to_serve() -> None:
    found = read_engine_log(start("0.20.2", "1.00") + start("0.21.0", "2.00") + f"{HEAD}Available KV cache memory: 9.99 GiB\n")
    assert (found.starts, found.version, found.ready) == (2, "0.21.0", True)
    (worker,) = found.workers
    assert worker.weights_bytes is not None
    assert worker.weights_bytes.value_bytes == 2 * GIB
    assert worker.available_kv_cache_bytes is None


def test_an_engine_that_dies_while_it_serves_is_told_apart() -> None:
    error = "ERROR 11-21 10:00:20 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
    before, after = read_engine_log(start("0.20.2", "1.00", error)), read_engine_log(start("0.20.2", "1.00") + error)
    assert before.failure is None, "it went on and served"
    assert after.failure is not None
    assert after.failure.serving


def test_a_figure_inside_a_line_is_text() -> None:
    """What a request or a model's code prints must not become a measurement."""
    for text in (
        f"INFO 11-21 10:00:20 [logger.py:39] Received request x: prompt: '{SAID}', params: None",
        f"INFO 11-21 10:00:20 [logger.py:39] Received request x: prompt: '{HEAD}{SAID}'",
        f"I think that {SAID}",
        json.dumps({"message": f"Received request x: {SAID}", "levelname": "INFO"}),
    ):
        assert read_engine_log(text).workers == ()


def test_a_poisoned_log_moves_nothing_and_says_so() -> None:
    true = f"{HEAD}Available KV cache memory: 3.00 GiB\n"
    lies = (
        f"{HEAD}Available KV cache memory: 999999999999 GiB\n{HEAD}Available KV cache memory: 70.00 GiB\n"
        f"{HEAD}GPU KV cache size: 99,999,999,999,999,999 tokens\n{HEAD}Graph capturing finished in 99999999999 secs, took 0.10 GiB\n"
        f"{HEAD}Maximum concurrency for 10 tokens per request: {'9' * 40}x\n"
        "INFO 11-21 10:00:20 [gpu_worker.py:1] Free memory on device (1.0/20.0 GiB) on startup. Desired GPU memory utilization is "
        "(7.5, 1.0 GiB).\n"
        f"{HEAD}Model loading took 21.00 GiB\n"
    )
    found = read_engine_log(true + lies + "x" * (10 << 20) + "\n" + true)
    (worker,) = found.workers
    assert worker.available_kv_cache_bytes is not None
    assert worker.available_kv_cache_bytes.value_bytes == 3 * GIB
    assert (found.kv_cache_tokens, found.max_concurrency, found.times.capture_seconds, found.gpu_memory_utilization) == (None,) * 4
    assert worker.weights_bytes is None, "more than the GPU has"
    assert found.cut
    assert {sentence.split()[0] for sentence in found.dropped} == {
        "available_kv_cache_bytes",
        "kv_cache_tokens",
        "capture_seconds",
        "max_concurrency",
        "gpu_memory_utilization",
        "weights_bytes",
    }


def test_bounds_hold_and_the_beginning_and_the_end_are_kept() -> None:
    lines, cut = lines_of("\n".join(f"line {number}" for number in range(100_000)))
    assert cut
    assert (len(lines), lines[0].message, lines[-1].message) == (40_000, "line 0", "line 99999")
    assert read_engine_log("") == EngineLog()
