"""Starts real engines from the commands that are rendered: `make test-engine ENGINES="0.19.1=VENV/bin/python ..."`.

For each release a tiny model is wished for, planned and rendered as `plimsoll render` does; the list of the rendered pod starts the
release's own server on this machine's CPU. It must get ready, complete a prompt, show the cache's figures and end on SIGTERM; its log is
then read by `plimsoll observe`. What a pod would have is stood in for: its mount is a folder, its GPU the CPU, its environment the
variables below. Prints a line a release; ends with 0 when all passed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from tests.engine.manifests import NODES, printed, started
from tests.engine.wishes import whole

TINY: Final = Path(__file__).with_name("tiny.py")
CONFIG: Final[dict[str, Any]] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32", "hidden_size": 128, "num_hidden_layers": 2,
    "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 258,
    "max_position_embeddings": 1024, "rope_theta": 10000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "hidden_act": "silu",
    "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
BYTES_PER_TOKEN: Final = 2 * 2 * 2 * 32 * 4
"""Keys and values of two layers with two heads of 32, in float32."""
CACHE_GIB: Final = 1
ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1", "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_CPU_KVCACHE_SPACE": str(CACHE_GIB), "VLLM_LOGGING_LEVEL": "INFO", "OMP_NUM_THREADS": "2",
}  # fmt: skip
"""Of the machine, not of the list: where the cache lies, which on a GPU the list's share of memory says."""
READY_S: Final = 900
ENDS_S: Final = 60
_LAST_LINES: Final = 12


@dataclass(frozen=True)
class Served:
    """What a started engine did: seconds until it was ready, tokens that it made, tokens that its cache holds, and how it ended."""

    ready_s: float
    completed: int
    cache_tokens: int
    status: int


def wish(release: str, port: int) -> dict[str, Any]:
    """A tiny model on a claim. float32, since a CPU's kernels for the other type want more of the machine than every machine has."""
    source = {"persistentVolumeClaim": {"claimName": "weights", "path": "tiny"}}
    engine = {"image": f"vllm/vllm-openai:v{release}", "dtype": "float32", "enforceEager": True, "maxNumSeqs": 8, "port": port}
    model = {"name": "acme/tiny", "source": source, "profile": {"inline": json.dumps(CONFIG)}}
    return whole({"model": model, "engine": engine, "placement": {"gpuProducts": ["NVIDIA-L4"]}})


def command(release: str, port: int, folder: Path) -> tuple[str, ...]:
    """What the rendered pod starts `vllm serve` with; the folder that it mounts is here."""
    file = folder / "wish.yaml"
    file.write_text(yaml.safe_dump(wish(release, port)), "utf-8")
    out, err = printed("render", "-f", str(file), "--nodes", str(NODES))
    workload = next((one for one in yaml.safe_load_all(out) if one["kind"] == "Deployment"), None)
    if workload is None:
        raise RuntimeError(err)
    argv = started(workload["spec"]["template"], 0)
    return (str(folder / "tiny"), *argv[1:])


def environment(python: str, release: str, folder: Path) -> dict[str, str]:
    """vLLM asks for the metadata of a package of its own name, and by its version whether it was built for CPUs."""
    metadata = folder / "site" / f"vllm-{release}+cpu.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {release}+cpu\n")
    (metadata / "entry_points.txt").write_text("")
    path = f"{Path(python).parent}:{os.environ.get('PATH', '')}"
    return {**ENVIRONMENT, "PATH": path, "HOME": str(folder), "PYTHONPATH": str(metadata.parent), "PYTHONUNBUFFERED": "1"}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answer(port: int, path: str, body: dict[str, Any] | None = None) -> str | None:
    """What the server says; None where it does not, or not with 200."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as said:
            return str(said.read().decode())
    except (urllib.error.URLError, OSError):
        return None


def serve(python: str, argv: tuple[str, ...], port: int, env: dict[str, str], log: Path) -> Served:
    """Start, wait, ask, end. Raises RuntimeError with the log's own words where it does not serve."""
    began = time.monotonic()
    with log.open("w") as out:
        child = subprocess.Popen([python, "-m", "vllm.entrypoints.cli.main", "serve", *argv], stdout=out, stderr=out, env=env)
    try:
        while answer(port, "/health") is None:
            if child.poll() is not None or time.monotonic() - began > READY_S:
                raise RuntimeError(f"not ready, status {child.poll()}: {last(log)}")
            time.sleep(1)
        ready = time.monotonic() - began
        said = answer(port, "/v1/completions", {"model": "acme/tiny", "prompt": "Hello", "max_tokens": 16, "ignore_eos": True})
        if said is None:
            raise RuntimeError(f"no completion: {last(log)}")
        completed = int(json.loads(said)["usage"]["completion_tokens"])
        held = cache_tokens(answer(port, "/metrics") or "")
        child.send_signal(signal.SIGTERM)
        return Served(ready_s=ready, completed=completed, cache_tokens=held, status=child.wait(ENDS_S))
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def last(log: Path) -> str:
    """The end of an engine's log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])


def cache_tokens(metrics: str) -> int:
    """What the cache holds, of vllm:cache_config_info; raises where the completion was not counted."""
    counted = re.search(r"^vllm:generation_tokens_total\{[^}]*\} (\S+)$", metrics, re.MULTILINE)
    if counted is None or float(counted[1]) < 1:
        raise RuntimeError("the completion is not in /metrics")
    row = next(line for line in metrics.splitlines() if line.startswith("vllm:cache_config_info"))
    label = dict(re.findall(r'(\w+)="([^"]*)"', row))
    return int(label["block_size"]) * int(label["num_gpu_blocks"])


def passed(python: str, release: str, folder: Path) -> list[str]:
    """What is wrong with one release; nothing where it serves as it should."""
    port = free_port()
    model = folder / "tiny"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    env = environment(python, release, folder)
    subprocess.run([python, "-B", str(TINY), str(model)], check=True, env=env, capture_output=True)
    argv = command(release, port, folder)
    log = folder / "engine.log"
    try:
        served = serve(python, argv, port, env, log)
    except RuntimeError as error:
        return [str(error)]
    out, _ = printed("observe", str(log), "-o", "json")
    read = json.loads(out)
    print(f"vLLM {release}: ready after {served.ready_s:.0f} s, {served.completed} tokens completed, cache of {served.cache_tokens} tokens")
    print(f"    vllm serve {' '.join(argv)}")
    expected = (CACHE_GIB << 30) // BYTES_PER_TOKEN
    wrong = [f"completed {served.completed} tokens"] if served.completed != 16 else []
    wrong += [] if served.cache_tokens == expected else [f"a cache of {served.cache_tokens} tokens, where {expected} fit"]
    wrong += [] if served.status == 0 else [f"ended with {served.status}"]
    return wrong + misread(read, release, served)


def misread(read: dict[str, Any], release: str, served: Served) -> list[str]:
    """What `plimsoll observe` says of the log otherwise than it was."""
    logged = read["kv_cache_tokens"]["logged"]
    told = {"ready": (read["ready"], True), "release": (read["release"], release), "cache": (logged, served.cache_tokens)}
    return [f"observe reads {name} {here}, where it is {there}" for name, (here, there) in told.items() if here != there]


def main(arguments: list[str]) -> int:
    """`RELEASE=PYTHON` for each release to start."""
    failed = False
    for pair in arguments:
        release, _, python = pair.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            for wrong in passed(python, release, Path(folder)):
                failed = True
                print(f"vLLM {release}: {wrong}", flush=True)
    return 1 if failed or not arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
