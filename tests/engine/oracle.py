"""Asks one vLLM release what it makes of argument lists: its own parser, its own command, its own configuration. No engine starts.

    VENV/bin/python oracle.py FOLDER < questions > answers

Run by tests.engine inside a Python that has the release's CPU build. FOLDER holds `<model>/config.json` for every model named. A question
is a line of JSON: id, card (name, major, minor, total) and argv, what follows `vllm serve`. An answer is one too: id, and either `refused`
(where: parser, command or configuration; words: the reason) or `resolved`, what the configuration holds in vLLM's own names. Questions
about one card are answered by one child process, so that nothing that vLLM remembers of a card outlives it.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stand_in import Card, count_cards, put_in, stand_in

STARTERS = ("run_headless", "run_multi_api_server", "run_server", "run_api_server_worker_proc", "run_dp_supervisor", "serve_grpc")
"""What the command of `vllm serve` calls when it has looked at the arguments."""
MOST_WORDS = 2000


class _Loop:
    """In place of uvloop: runs nothing."""

    @staticmethod
    def run(started: Any) -> None:
        if hasattr(started, "close"):
            started.close()


class Release:
    """One release's parser and command, with a card put in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        from vllm.entrypoints.cli import serve

        try:
            from vllm.utils.argparse_utils import FlexibleArgumentParser
        except ImportError:
            from vllm.utils import FlexibleArgumentParser
        self.command = serve.ServeSubcommand()
        self.parser = self.command.subparser_init(FlexibleArgumentParser(prog="vllm").add_subparsers(dest="subparser"))
        for name in STARTERS:
            if hasattr(serve, name):
                setattr(serve, name, lambda *_, **__: None)
        serve.uvloop = _Loop

    def answer(self, argv: list[str]) -> dict[str, Any]:
        """What the release says to a list of arguments."""
        environment = dict(os.environ)
        heard = io.StringIO()
        where = "parser"
        try:
            with contextlib.redirect_stderr(heard), contextlib.redirect_stdout(heard):
                given = copy.deepcopy(self.parser.parse_args(self._local(argv)))  # defaults of the parser are objects that a start alters
                where = "command"
                self.command.validate(given)
                self.command.cmd(given)
                where = "configuration"
                return {"resolved": resolved(configured(given))}
        except SystemExit:
            return {"refused": {"where": where, "words": heard.getvalue().strip().splitlines()[-1][:MOST_WORDS]}}
        except Exception as error:  # noqa: BLE001  whatever it says, it does not start
            return {"refused": {"where": where, "words": f"{type(error).__name__}: {error}"[:MOST_WORDS]}}
        finally:
            os.environ.clear()
            os.environ.update(environment)

    def _local(self, argv: list[str]) -> list[str]:
        """The same with folders in place of the names of models, the draft's too."""
        local = [str(self.folder / argv[0]), *argv[1:]]
        for place, token in enumerate(local):
            flag, equals, value = token.partition("=")
            if equals and flag == "--speculative-config":
                settings = json.loads(value)
                if "model" in settings:
                    settings["model"] = str(self.folder / settings["model"])
                local[place] = f"{flag}={json.dumps(settings)}"
        return local


def configured(given: argparse.Namespace) -> Any:
    """The VllmConfig of parsed arguments, as the server makes it."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    given.model = given.model_tag or given.model
    return AsyncEngineArgs.from_cli_args(given).create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)


def resolved(config: Any) -> dict[str, Any]:
    """What the configuration holds of that which a plan says, in vLLM's own names."""
    model, cache, scheduler, parallel = config.model_config, config.cache_config, config.scheduler_config, config.parallel_config
    graphs = config.compilation_config
    sizes = graphs.cudagraph_capture_sizes
    envs = sys.modules["vllm.envs"]
    return {
        "architecture": model.architectures[0] if model.architectures else None,
        "runner": getattr(model, "runner_type", None),
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": model.quantization,
        "kv_cache_dtype": str(cache.cache_dtype),
        "block_size": cache.block_size,
        "gpu_memory_utilization": cache.gpu_memory_utilization,
        "enable_prefix_caching": bool(cache.enable_prefix_caching),
        "max_model_len": model.max_model_len,
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "enable_chunked_prefill": bool(getattr(scheduler, "enable_chunked_prefill", getattr(scheduler, "chunked_prefill_enabled", False))),
        "async_scheduling": bool(getattr(scheduler, "async_scheduling", False)),
        "tensor_parallel_size": parallel.tensor_parallel_size,
        "pipeline_parallel_size": parallel.pipeline_parallel_size,
        "data_parallel_size": parallel.data_parallel_size,
        "decode_context_parallel_size": getattr(parallel, "decode_context_parallel_size", 1),
        "enable_expert_parallel": bool(parallel.enable_expert_parallel),
        "enforce_eager": bool(model.enforce_eager),
        "capture_sizes": sorted(sizes) if sizes else [],
        "uses_v2_model_runner": bool(getattr(config, "use_v2_model_runner", False)),
        "uses_v0_engine": not getattr(envs, "VLLM_USE_V1", True),
    }


def said(folder: Path, questions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The answers to questions about one card."""
    put_in(Card(**questions[0]["card"]))
    release = Release(folder)
    for question in questions:
        yield {"id": question["id"], **release.answer(question["argv"])}


def by_card(questions: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The questions about each card, in the order in which cards are first asked about."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for question in questions:
        groups.setdefault(json.dumps(question["card"], sort_keys=True), []).append(question)
    return list(groups.values())


def prepare() -> None:
    """Import what does not look at the card; a registry that would start processes looks at classes itself."""
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        VLLM_LOGGING_LEVEL="ERROR",
        VLLM_NO_USAGE_STATS="1",
        VLLM_HOST_IP="127.0.0.1",
        VLLM_DO_NOT_TRACK="1",
        CUDA_VISIBLE_DEVICES=",".join(str(card) for card in range(8)),
    )
    warnings.simplefilter("ignore")
    stand_in()
    importlib.import_module("vllm.model_executor.models.llama")  # most of what any class needs, imported once for all cards
    import vllm.model_executor.models.registry as registry

    registry._run_in_subprocess = lambda look: look()
    count_cards()


def main() -> int:
    """Fork a child for each card; its lines are the answers."""
    folder = Path(sys.argv[1])
    questions = [json.loads(line) for line in sys.stdin]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints is no answer
    sys.argv = ["vllm"]
    prepare()
    for group in by_card(questions):
        child = os.fork()
        if child == 0:
            for line in said(folder, group):
                print(json.dumps(line, default=str), file=answers, flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
