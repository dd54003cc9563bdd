"""The plimsoll command's offline doors, as a person at a terminal meets them."""

from __future__ import annotations

import ast
import inspect
import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from plimsoll_estimator import catalogue
from plimsoll_estimator.checks import Check
from plimsoll_operator import conditions
from plimsoll_operator.capacity.problems import Problem
from plimsoll_operator.cli import main
from plimsoll_operator.cli.command import COMMANDS
from plimsoll_operator.cli.explain import EXPLAINED, GROUPS
from plimsoll_operator.cli.files import lines
from plimsoll_operator.controller.reporting import report
from plimsoll_operator.reasons import CONDITION_REASONS, Reason

LLAMA = ["estimate", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "NVIDIA-H100-80GB-HBM3", "--engine-version", "0.19.0"]


def ask(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main(argv)
    out, err = capsys.readouterr()
    return status, out, err


def test_one_model_on_one_gpu_prints_every_component(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ask(capsys, *LLAMA, "-tp", "2", "--max-model-len", "32K")
    assert status == 0
    for word in ("starts", "weights", "7.51 GiB", "KV cache", "ranks 0-1", "max-model-len 32768", "local NVMe"):
        assert word in out


def test_json_is_the_batch_doors_answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, _ = ask(capsys, *LLAMA, "--json", "--context", "8192")
    assert status == 0
    answer = json.loads(out)
    assert answer["verdict"] == "starts"
    assert answer["ranks"][0]["weights_bytes"] == 16_094_077_440  # as vLLM logs it: 14.99 GiB
    case = {
        "id": "meta-llama/Llama-3.1-8B-Instruct",
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "engine_version": "0.19.0",
        "gpu": {"product": "NVIDIA-H100-80GB-HBM3"},
        "engine_args": {"max_model_len": 8192},
    }
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(case) + "\n"))
    status, batch, _ = ask(capsys, "estimate", "--cases", "-")
    assert (status, json.loads(batch)) == (0, answer)


def test_explain_shows_formulas_whose_numbers_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ask(capsys, *LLAMA, "--explain", "--max-model-len", "8192")
    assert status == 0
    assert "2 x 32 layers x 16 tokens x 8 KV heads x 128 x 2 = 2097152" in out
    assert max(map(len, out.splitlines())) <= 100
    term = out[out.index("  KV cache = budget") : out.index("    source: vllm/v1/worker/gpu_worker.py")]
    line = " ".join(term.split())
    numbers, _, result = line.rpartition("=")[0].rpartition("=")[2], None, line.rpartition("=")[2]
    first, *rest = (int(part) for part in numbers.split(" - "))
    assert first - sum(rest) == int(result)


@pytest.mark.parametrize(
    ("model", "version"),
    [("meta-llama/Llama-3.1-8B-Instruct", "0.33.0"), ("Qwen/Qwen3-30B-A3B", "0.31.0"), ("deepseek-ai/DeepSeek-V3", "0.19.0")],
)
def test_explain_takes_the_activation_peak_apart(capsys: pytest.CaptureFixture[str], model: str, version: str) -> None:
    _, out, _ = ask(capsys, "estimate", "--model", model, "--gpu", "NVIDIA-H200", "--engine-version", version, "--explain")
    term = out[out.index("  activation = max(") : out.index("    forward pass =")]
    parts = re.search(r"= max\((\d+), (\d+)\)([ +\d]*) = (\d+)", " ".join(term.split()))
    assert parts is not None
    assert max(int(parts[1]), int(parts[2])) + sum(int(part) for part in parts[3].split("+") if part.strip()) == int(parts[4])


def test_compare_lists_layouts_and_says_why_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ask(
        capsys, "estimate", "--model", "Qwen/Qwen3-30B-A3B", "--gpu", "NVIDIA-L4", "--engine-version", "0.19.0", "--compare"
    )
    assert status == 1, "one L4 does not hold it"
    rows = [line.split() for line in out.splitlines() if line.split()[:1] in (["1"], ["2"], ["4"], ["8"]) and len(line.split()) > 4]
    assert {(row[0], row[1], row[2]) for row in rows} >= {("1", "1", "no"), ("8", "1", "no"), ("8", "1", "yes"), ("4", "2", "no")}


@pytest.mark.parametrize(("model", "noted"), [("MiniMaxAI/MiniMax-M2", True), ("Qwen/Qwen3-8B", False)])
def test_a_shape_that_is_not_the_published_file_is_noted(capsys: pytest.CaptureFixture[str], model: str, noted: bool) -> None:
    status, out, _ = ask(capsys, "estimate", "--model", model, "--gpu", "NVIDIA-H200", "--engine-version", "0.19.0")
    assert status == (1 if noted else 0)
    assert ("not the published file" in out) is noted


def test_the_rule_of_thumb_says_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ask(capsys, "estimate", "--params", "70B", "--quantization", "awq", "--context", "8192", "--gpu", "NVIDIA-L4")
    assert status == 0
    assert out.startswith("RULE OF THUMB")
    assert "38.50 GB" in out


def test_a_config_file_is_enough(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = catalogue.lookup("meta-llama/Llama-3.1-8B-Instruct")
    assert config is not None
    (tmp_path / "config.json").write_text(json.dumps(config.as_mapping()))
    (tmp_path / "me--mine.json").write_text(json.dumps({"config": config.as_mapping()}))
    gpu = ("--gpu", "NVIDIA-L4", "--engine-version", "0.19.0", "--max-model-len", "8k", "--json")
    _, from_file, _ = ask(capsys, "estimate", "--config", str(tmp_path / "config.json"), *gpu)
    _, from_folder, _ = ask(capsys, "estimate", "--models", str(tmp_path), "--model", "me/mine", *gpu)
    assert json.loads(from_file)["ranks"] == json.loads(from_folder)["ranks"]
    assert json.loads(from_file)["max_model_len"] == 8000


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["estimate"], "--gpu"),  # nothing to go by
        (["estimate", "--gpu", "NVIDIA-L4"], "--model"),  # no model
        (["estimate", "--model", "no/such", "--gpu", "NVIDIA-L4"], "is not in the catalogue"),
        (["estimate", "--model", "Qwen/Qwen3-8B", "--gpu", "Abacus"], "Abacus"),
        ([*LLAMA, "--enable-l"], "is ambiguous in vllm serve"),
        ([*LLAMA, "--max-model-len", "4k", "--context", "8k"], "contradicts"),
        ([*LLAMA, "--num-gpu-blocks-override", "7"], "is refused: the cache would not be"),
        (["estimate", "--model", "Qwen/Qwen3-8B", "--gpu", "NVIDIA-L4", "--engine-version", "new"], "release number"),
        (["estimate", "--params", "many"], "--params"),
        (["estimate", "--params", "7B", "--model", "Qwen/Qwen3-8B"], "exclude one another"),
        (["estimate", "--cases", "/no/such/file"], "cannot be read"),
        (["estimate", "--config", "/no/such/file", "--gpu", "NVIDIA-L4"], "cannot be read"),
        (["estimate", "--models", "/no/such", "--model", "a/b", "--gpu", "NVIDIA-L4"], "is not a folder"),
        (["models", "no/such"], "is not in the catalogue"),
        (["explain", "Nonsense"], "`plimsoll explain` lists them"),
        (["explain", "InsufficientKvCash"], "like it are InsufficientKvCache"),
        (["models", "meta-llama/Llama-3.1-8B-instruc"], "it has meta-llama/Llama-3.1-8B"),
        (["estimate", "--params", "7B", "--explain"], "--explain needs --model"),
        ([*LLAMA, "--max-model-len"], "--max-model-len needs a value"),
        (["estimate", "--model", "a/b", "--config", "c.json", "--gpu", "NVIDIA-L4"], "and --model exclude one another"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_2(capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    status, out, err = ask(capsys, *argv)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_lines_that_are_not_json_give_status_2_and_an_answer_each(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"id": 1}\nnot json\n')
    status, out, _ = ask(capsys, "estimate", "--cases", str(cases))
    assert status == 2
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["invalid", "invalid"]


def test_models_that_no_rule_describes_are_not_listed_and_removed_ones_name_their_releases(capsys: pytest.CaptureFixture[str]) -> None:
    listed = ask(capsys, "models")[1].splitlines()
    names = [line.split()[0] for line in listed[:-1]]
    for unknown in ("microsoft/Phi-3-small-8k-instruct", "stepfun-ai/Step-3.7-Flash", "stepfun-ai/Step-3.7-Flash-FP8"):
        assert unknown not in names
        assert f"model: {unknown}" in ask(capsys, "models", unknown)[1]
    assert listed[-1] == f"{len(names) + 3} of {len(names) + 3} models, 3 of them not listed: no rules for their classes"
    assert json.loads(ask(capsys, "models", "--json")[1]) == names
    only = {line.split()[0]: line.partition("  (vLLM ")[2].rstrip(")") for line in listed if "  (vLLM " in line}
    assert only == {
        "baichuan-inc/Baichuan2-7B-Chat": "from 0.8 until before 0.25",
        "MiniMaxAI/MiniMax-M1-80k": "from 0.9.2 until before 0.24",
        "mosaicml/mpt-7b": "from 0.8 until before 0.29",
        "Qwen/Qwen-72B": "from 0.8 until before 0.24",
        "Qwen/Qwen-7B": "from 0.8 until before 0.24",
        "Qwen/Qwen-VL-Chat-Int4": "from 0.8 until before 0.24",
    }


def test_models_and_gpus_list_what_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Qwen/Qwen3-8B" in ask(capsys, "models", "--search", "qwen3-8b")[1]
    assert json.loads(ask(capsys, "models", "Qwen/Qwen3-8B", "--json")[1])["config"]["hidden_size"] == 4096
    assert "NVIDIA-L4" in ask(capsys, "gpus")[1]
    assert len(json.loads(ask(capsys, "gpus", "--json")[1])) > 10


def test_a_card_of_unknown_generation_may_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("estimate", "--model", "Qwen/Qwen3-8B", "--gpu", "NVIDIA-CMP-170HX", "--gpu-memory-mib", "8192")
    assert "give its compute capability" in "".join(map(str, ask(capsys, *asked)))
    assert "give its compute capability" not in "".join(map(str, ask(capsys, *asked, "--gpu-compute-capability", "8.0")))


def _said_in(source: str) -> set[str]:
    """Words of a module's source that can only be reasons: in the third place of a condition's draft, or handed on as `reason`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        words: list[ast.expr] = [word.value for word in node.keywords if word.arg == "reason"] if isinstance(node, ast.Call) else []
        if isinstance(node, ast.Tuple) and len(node.elts) == 4:
            words.append(node.elts[2])
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            words.append(node.elts[0])
        texts = {word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)}
        found |= {text for text in texts if re.fullmatch(r"([A-Z][a-z]+)+", text)}
    return found


def test_conditions_and_events_say_their_reasons_by_the_members_that_are_explained() -> None:
    assert _said_in('say(reason="EngineEnds")') == {"EngineEnds"}, "text is found"
    assert _said_in(inspect.getsource(conditions)) | _said_in(inspect.getsource(report)) == set()


@pytest.mark.parametrize("reason", sorted({*map(str, (*Reason, *CONDITION_REASONS, *Problem, *Check))}))
def test_every_reason_is_explained(capsys: pytest.CaptureFixture[str], reason: str) -> None:
    status, out, _ = ask(capsys, "explain", reason.lower())
    assert status == 0
    assert out.startswith(reason)
    assert all(text.endswith(".") for text in EXPLAINED[reason])


def test_all_reasons_are_listed_by_kind_and_name_and_few_share_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ask(capsys, "explain")
    kinds = [line.removeprefix("# ") for line in out.splitlines() if line.startswith("# ")]
    assert kinds == [kind for kind, _ in GROUPS]
    for chapter in out.split("# ")[1:]:
        names = [line for line in chapter.splitlines()[1:] if line and not line.startswith(" ")]
        assert names == sorted(names, key=str.lower)
    told = Counter(line for line in out.splitlines() if line.startswith("  "))
    assert max(told.values()) <= 3, told.most_common(3)
    rows = json.loads(ask(capsys, "explain", "-o", "json")[1])
    assert {row["reason"] for row in rows} == set(EXPLAINED)
    assert len(rows) == len(EXPLAINED), "each once"


def test_what_is_refused_has_the_name_under_which_it_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """Asynchronous scheduling of pipeline stages begins with 0.15 (config/vllm.py)."""
    typed = ["estimate", "--model", "Qwen/Qwen3-8B", "--gpu", "NVIDIA-H100-80GB-HBM3", "--engine-version", "0.14.1"]
    assert main([*typed, "--pipeline-parallel-size", "2", "--async-scheduling"]) == 2
    assert capsys.readouterr().err.startswith("plimsoll estimate: --async-scheduling: True does not go with")


def test_help_lists_every_command_without_importing_any() -> None:
    code = (
        "import sys\nfrom plimsoll_operator.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "from plimsoll_operator.cli.command import COMMANDS\n"
        "sys.exit(any(f'plimsoll_operator.cli.{name}' in sys.modules for name, _ in COMMANDS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name, _ in COMMANDS)


@pytest.mark.parametrize(
    ("why", "arguments", "unused"),
    [
        (
            "an estimate needs none of the operator's libraries",
            LLAMA,
            ["pydantic", "yaml", "kopf", "kubernetes", "httpx", "uvicorn", "prometheus_client"],
        ),
        (
            "a fit on named GPUs asks no cluster, and its client is half a second of imports",
            ["fit", "meta-llama/Llama-3.1-8B", "--gpu", "NVIDIA-L4", "--offline"],
            ["kopf", "kubernetes", "httpx", "uvicorn", "prometheus_client"],
        ),
    ],
)
def test_a_command_starts_without_libraries_that_it_does_not_use(why: str, arguments: list[str], unused: list[str]) -> None:
    code = f"import sys\nfrom plimsoll_operator.cli import main\nmain({arguments!r})\nsys.exit(bool(set({unused!r}) & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_bytes_that_are_not_utf8_are_bad_input_not_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_bytes(b'{"id": "\xff\xfe"}\n')
    assert main(["estimate", "--cases", str(cases)]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("why", "text", "expected"),
    [
        ("short lines are as they are, the last without an end as well", "a\nbb\nccc", ["a\n", "bb\n", "ccc"]),
        ("of a longer one a character more than allowed is read, and the next is not touched", "abcdefghi\nz\n", ["abcd", "z\n"]),
        ("one that is exactly as long as allowed is whole", "abc\nz", ["abc\n", "z"]),
        ("one that ends with the text", "abcdefgh", ["abcd"]),
        ("one that goes on for 128 times that ends the text", "a" * 4 * 200 + "\nz\n", ["aaaa"]),
    ],
)
def test_lines_are_read_within_bounds(why: str, text: str, expected: list[str]) -> None:
    assert list(lines(io.StringIO(text), 3)) == expected, why
