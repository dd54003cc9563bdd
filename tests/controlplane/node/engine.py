#!/usr/bin/env python3
"""A stand-in for `vllm` on a node without a GPU: takes the arguments of `vllm serve`, answers as the engine does, or fails as it is told.

Installed as /usr/local/bin/vllm of the image that pods ask for. ENGINE says how it behaves: `serve`, `serve after SECONDS`,
`end with CODE`, `fail for memory`, `fail for cache`. It checks no number: what must be told is compared by the test, which reads
`/arguments`. As the engine, it hears SIGTERM when it serves and not while it loads.
"""

import http.server
import json
import os
import signal
import sys
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


class Answers(http.server.BaseHTTPRequestHandler):
    """What probes, Prometheus and clients ask for."""

    told: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        served = str(self.told["flags"].get("--served-model-name") or self.told["model"])
        answers = {
            "/health": "",
            "/metrics": f'vllm:num_requests_running{{model_name="{served}"}} 0.0\n',
            "/v1/models": json.dumps({"object": "list", "data": [{"id": served, "object": "model"}]}),
            "/arguments": json.dumps(self.told),
        }
        text = answers.get(self.path)
        self.send_response(200 if text is not None else 404)
        self.send_header("content-length", str(len(text or "")))
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    if sys.argv[1:2] != ["serve"] or len(sys.argv) < 3:
        sys.exit("vllm: only `vllm serve MODEL` is stood in for")
    Answers.told = {"model": sys.argv[2], "flags": flags(sys.argv[3:]), "uid": os.getuid(), "pid": os.getpid()}
    how = os.environ.get("ENGINE", "serve").split()
    print(f"INFO stand-in engine: {' '.join(how)}", flush=True)
    if how[0] == "fail":
        fail(how[-1])
    if how[0] == "end":
        sys.exit(int(how[-1]))
    if how[1:2] == ["after"]:
        time.sleep(float(how[2]))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    http.server.ThreadingHTTPServer(("", int(Answers.told["flags"].get("--port", 8000))), Answers).serve_forever()


if __name__ == "__main__":
    main()
