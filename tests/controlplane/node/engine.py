#!/usr/bin/env python3
"""A stand-in for `vllm` on a node without a GPU: takes the arguments of `vllm serve`, answers as the engine does, or fails as it is told.

Installed as /usr/local/bin/vllm of the image that pods ask for. ENGINE says how it behaves: `serve`, `serve after SECONDS`,
`end with CODE`, `fail for memory`, `fail for cache`, `take MIB`; LOG is what it logs of its start. It checks no number: what must be told
is compared by the test, which reads `/told`: arguments, user, what can be written, how often it has started with these files.
`/work/SECONDS` is a request that takes so long, which the figures count; `/end` ends it. As the engine, it hears SIGTERM when it serves and
not while it loads, and lets no request end then.
"""

import http.server
import json
import os
import pathlib
import signal
import sys
import threading
import time
from typing import Any, ClassVar


def flags(words: list[str]) -> dict[str, str]:
    """Flags with their values; a flag that stands twice, or what is neither flag nor value, ends the program as vLLM's parser would."""
    found: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            if name in found:
                sys.exit(f"vllm serve: error: {name} is given twice")
            found[name] = value
            name = "" if equals else name
        elif name:
            found[name], name = word, ""
        else:
            sys.exit(f"vllm serve: error: unrecognized arguments: {word}")
    return found


# As vLLM 0.11 logs a start that failed: the cause, then more of its server's traceback than fits into a pod's status.
CAUSES = {
    "memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 594.00 MiB. GPU 0 has a total capacity of 22.03 GiB.",
    "cache": "ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed, which is "
    "larger than the available KV cache memory (9.93 GiB).",
}
TRACEBACK = """  File "/usr/local/lib/python3.12/dist-packages/vllm/v1/engine/core_client.py", line 770, in __init__
    super().__init__(asyncio_mode=True, vllm_config=vllm_config, executor_class=executor_class, log_stats=log_stats)
"""


def fail(cause: str) -> None:
    """End as vLLM does when its engine's own process could not start."""
    print(f"(EngineCore_0 pid=274) ERROR 03-01 12:00:00 [core.py:843] {CAUSES[cause]}")
    print("(APIServer pid=1) Traceback (most recent call last):\n" + TRACEBACK * 45)
    print("(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}")
    sys.exit(1)


def compiled_files() -> pathlib.Path:
    """Where vLLM keeps what it has compiled (vllm/envs.py: VLLM_CACHE_ROOT)."""
    return pathlib.Path(os.environ.get("VLLM_CACHE_ROOT") or pathlib.Path.home() / ".cache" / "vllm")


def starts() -> int:
    """How often an engine has started with these compiled files, this time included."""
    kept = compiled_files() / "starts"
    count = int(kept.read_text()) + 1 if kept.exists() else 1
    kept.write_text(str(count))
    return count


def can_write() -> list[str]:
    """Which of the places that an engine writes to let it."""
    hub = pathlib.Path.home() / ".cache" / "huggingface"
    places = {
        "hub": hub,
        "compiled": compiled_files(),
        "/tmp": pathlib.Path("/tmp"),
        "/dev/shm": pathlib.Path("/dev/shm"),
        "/": pathlib.Path("/"),
    }
    found = []
    for name, place in places.items():
        try:
            place.mkdir(parents=True, exist_ok=True)
            (place / "probe").write_text("x")
            found.append(name)
        except OSError:
            continue
    return found


class Answers(http.server.BaseHTTPRequestHandler):
    """What probes, Prometheus and clients ask for."""

    told: ClassVar[dict[str, Any]] = {}
    running = 0
    lock = threading.Lock()

    def do_GET(self) -> None:
        served = str(self.told["flags"].get("--served-model-name") or self.told["model"])
        if self.path == "/end":  # as an engine that crashes while it serves
            os._exit(1)
        if self.path.startswith("/work/"):
            self.count(1)
            time.sleep(float(self.path.rpartition("/")[2]))
            self.count(-1)
        answers = {
            "/health": "",
            "/metrics": "".join(
                f'vllm:num_requests_{name}{{engine="0",model_name="{served}"}} {count}\n'
                for name, count in (("running", float(self.running)), ("waiting", 0.0))
            ),
            "/v1/models": json.dumps({"object": "list", "data": [{"id": served, "object": "model"}]}),
            "/told": json.dumps(self.told),
            self.path if self.path.startswith("/work/") else "": json.dumps({"done": self.path}),
        }
        text = answers.get(self.path)
        self.send_response(200 if text is not None else 404)
        self.send_header("content-length", str(len(text or "")))
        self.end_headers()
        self.wfile.write((text or "").encode())

    @classmethod
    def count(cls, change: int) -> None:
        with cls.lock:
            cls.running += change

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    if sys.argv[1:2] != ["serve"] or len(sys.argv) < 3:
        sys.exit("vllm: only `vllm serve MODEL` is stood in for")
    writes = can_write()
    Answers.told = {
        "model": sys.argv[2],
        "flags": flags(sys.argv[3:]),
        "uid": os.getuid(),
        "can_write": writes,
        "starts": starts() if "compiled" in writes else 0,
        "gpus": os.environ.get("NVIDIA_VISIBLE_DEVICES", ""),
    }
    how = os.environ.get("ENGINE", "serve").split()
    print(f"INFO stand-in engine: {' '.join(how)}", flush=True)
    if how[0] == "fail":
        fail(how[-1])
    if how[0] == "end":
        sys.exit(int(how[-1]))
    if how[0] == "take":
        time.sleep(2)
        taken = [b"x" * (1 << 20) for _ in range(int(how[1]))]
        sys.exit(f"vllm: {len(taken)} MiB could be taken")
    if how[1:2] == ["after"]:
        time.sleep(float(how[2]))
    print(os.environ.get("LOG", ""), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    http.server.ThreadingHTTPServer(("", int(Answers.told["flags"].get("--port", 8000))), Answers).serve_forever()


if __name__ == "__main__":
    main()
