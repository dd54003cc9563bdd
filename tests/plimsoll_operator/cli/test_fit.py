"""`plimsoll fit` as an ML engineer meets it, without a cluster."""

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.plimsoll_operator.cli.command import ask
from tests.plimsoll_operator.cli.fit_world import FOLDER, SCREENS, shown, table, world_of
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, planned
from tests.plimsoll_operator.nodes import H100, L4, T4, gpu_node

from plimsoll_operator.api import parse_inference_deployment
from plimsoll_operator.cli import main
from plimsoll_operator.cli.fit.data import mapping_of
from plimsoll_operator.cli.fit.request import Layout, manifest_of
from plimsoll_operator.cli.fit.text import lines_of
from plimsoll_operator.cli.screen import Screen
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Reject


def fit(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main(["fit", *argv])
    return (status, *capsys.readouterr())


def test_every_gpu_of_the_cluster_has_its_row_the_smallest_first() -> None:
    rows = table(LLAMA_8B).rows
    assert [row.card.product for row in rows] == ["Tesla-T4", "NVIDIA-L4", "NVIDIA-H100-80GB-HBM3"]
    assert rows[0].plan is None
    assert [(row.card.free_gpus, row.card.gpus) for row in rows] == [(1, 1), (4, 4), (8, 8)]


@pytest.mark.parametrize(
    "wish", [{}, {"lengths": (8192,)}, {"lengths": (4096, 32768)}, {"sizes": (1, 2)}, {"users": 16, "lengths": (4096,)}]
)
@pytest.mark.parametrize("model", [LLAMA_8B, LLAMA_70B, "Qwen/Qwen3-8B", "google/gemma-3-27b-it"])
def test_what_is_shown_is_what_decide_says_of_the_manifest_that_is_printed(model: str, wish: Manifest) -> None:
    found = table(model, **wish)
    best = found.best
    assert best is not None
    assert best.plan is not None
    size = best.plan.tensor_parallel_size if wish.get("sizes") else None
    layout = Layout(tensor=size)
    length = best.plan.max_model_len if wish.get("lengths") else None
    deployment = parse_inference_deployment(manifest_of(found.request, layout, length, best.card.product))
    plan = planned(decide(facts_for(deployment, world_of(H100, L4, T4), applied_plan=None)))
    assert (plan.tensor_parallel_size, plan.max_model_len) == (best.plan.tensor_parallel_size, best.plan.max_model_len)
    assert plan.kv_cache_tokens == best.plan.kv_cache_tokens


def test_each_size_asked_for_has_a_row_also_one_that_does_not_fit() -> None:
    rows = [row for row in table(sizes=(1, 2, 4)).rows if row.card.product.startswith("NVIDIA-H100")]
    assert [(row.size, row.plan and row.plan.tensor_parallel_size) for row in rows] == [(1, None), (None, 2), (None, 4)]


def test_each_length_asked_for_has_a_column_and_longer_requests_are_fewer() -> None:
    found = table(LLAMA_8B, lengths=(8192, 32768, 131072))
    for row in found.rows:
        counts = [cell.requests for cell in row.cells]
        assert counts == sorted(counts, reverse=True)
    assert found.lengths == (8192, 32768, 131072)


def test_no_more_requests_are_counted_than_are_scheduled_at_once() -> None:
    cell = table("Qwen/Qwen2.5-1.5B-Instruct", H100, lengths=(512,)).rows[0].cells[0]
    assert cell.plan is not None
    assert cell.requests == cell.plan.max_num_seqs < float(cell.plan.max_concurrency)


def test_a_model_shorter_than_the_stated_length_is_counted_at_its_own() -> None:
    found = table("TinyLlama/TinyLlama-1.1B-Chat-v1.0", H100)
    assert found.lengths == (2048,)
    assert found.rows[0].cells[0].requests > 0


def test_users_are_served_or_the_row_says_that_they_are_not() -> None:
    few, many = (table(LLAMA_8B, L4, users=users, lengths=(4096,)).rows[0] for users in (4, 4000))
    assert few.plan is not None
    assert few.plan.max_num_seqs >= 4
    assert many.plan is None


def test_gpus_that_others_hold_fit_but_not_now() -> None:
    pod = {
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "x"},
        "spec": {"nodeName": "h", "containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]},
        "status": {"phase": "Running"},
    }
    from plimsoll_operator.cli.fit.rows import table_of

    world = world_of(gpu_node("h", "NVIDIA-H100-80GB-HBM3", 8, 81559))
    world.pods.append(pod)
    world.pools = []
    world.derive_pools()
    found = table_of(table(LLAMA_8B, H100).request, world, (), "files")
    line = next(line for line in lines_of(found, Screen(), "x") if line.startswith("NVIDIA-H100"))
    assert line.endswith("0 of 8  when free")


@pytest.mark.parametrize("name", SCREENS)
def test_the_picture_is_that_of_the_golden_file(name: str) -> None:
    """`make shown` writes them anew where figures have changed for a reason."""
    assert shown(SCREENS[name]) == (FOLDER / f"{name}.txt").read_text("utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
def test_no_row_is_wider_than_the_terminal_but_commands_are_whole(width: int) -> None:
    lines = lines_of(table(), Screen(width=width), "plimsoll fit x")
    rows = [line for line in lines if "plimsoll fit" not in line]
    assert max(map(len, rows)) <= max(width, 56)
    assert "next: plimsoll fit x -o manifest | kubectl apply -f -" in lines


def test_a_pipe_gets_no_escape_and_no_bar() -> None:
    text = "\n".join(lines_of(table(), Screen(), "x"))
    assert text.isascii()
    assert "\x1b" not in text


def test_offline_gpus_are_named_as_people_call_them(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = fit(capsys, "llama-3.1-8b", "--gpu", "h100,4090", "--gpu", "2xl40s", "-o", "name")
    assert (status, out.split()) == (0, ["NVIDIA-GeForce-RTX-4090", "NVIDIA-L40S", "NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-NVL"])
    assert "taken for meta-llama/Llama-3.1-8B" in err


def test_nodes_of_two_hold_no_layout_of_four(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(capsys, LLAMA_70B, "--gpu", "2xl40s")[0] == 1
    assert fit(capsys, LLAMA_70B, "--gpu", "4xl40s")[0] == 0


STATUSES = [
    ("what fits somewhere is 0", [LLAMA_8B, "--gpu", "t4,h100"], 0),
    ("what fits nowhere is 1", [LLAMA_70B, "--gpu", "t4"], 1),
    ("an unknown model is 2", ["acme/unknown", "--gpu", "h100", "--offline"], 2),
    ("an unknown GPU is 2", [LLAMA_8B, "--gpu", "h101"], 2),
    ("a context that is no number is 2", [LLAMA_8B, "--gpu", "h100", "--context", "long"], 2),
    ("no context is 2", [LLAMA_8B, "--gpu", "h100", "--context", "0"], 2),
    ("too many sizes are 2", [LLAMA_8B, "--gpu", "h100", "--tp", "1,2,3,4,5,6,7,8,9"], 2),
    ("--all and --gpu are 2", [LLAMA_8B, "--gpu", "h100", "--all"], 2),
    ("a release that is none is 2", [LLAMA_8B, "--gpu", "h100", "--engine-version", "0.99.0"], 2),
    ("a namespace that is none is 2", [LLAMA_8B, "--gpu", "h100", "-n", "A B"], 2),
]


@pytest.mark.parametrize(("why", "argv", "status"), STATUSES, ids=[row[0] for row in STATUSES])
@pytest.mark.parametrize("output", ["table", "json", "manifest"])
def test_exit_status_says_whether_it_fits(why: str, argv: list[str], status: int, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, out, err = fit(capsys, *argv, "-o", output)
    assert found == status
    assert (len(err.splitlines()) == 1 and not out) if status == 2 else True


def test_a_refusal_has_both_figures_in_its_row_and_says_what_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = fit(capsys, LLAMA_70B, "--gpu", "t4")
    assert "no: needs " in out
    assert "None of these holds it." in out
    assert "would be admitted" in out


def test_the_manifest_can_be_planned_as_it_is_and_is_admitted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, files: Callable[..., str]
) -> None:
    status, out, _ = fit(
        capsys, "qwen3-8b", "--nodes", files("n.yaml", {"kind": "NodeList", "items": [L4]}), "-o", "manifest", "-n", "team-a"
    )
    (tmp_path / "m.yaml").write_text(out)
    assert (status, yaml.safe_load(out)["metadata"]) == (0, {"name": "qwen3-8b", "namespace": "team-a"})
    status, told, _ = ask(capsys, tmp_path, "plan", "-f", str(tmp_path / "m.yaml"))
    assert (status, told.splitlines()[0]) == (0, "qwen3-8b: Admit")


def test_the_command_is_the_line_of_the_pods(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = fit(capsys, LLAMA_8B, "--gpu", "l4", "-o", "command")
    words = shlex.split(out)
    assert words[:3] == ["vllm", "serve", LLAMA_8B]
    assert any(word.startswith("--gpu-memory-utilization=") for word in words)


def test_nothing_is_printed_to_apply_where_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = fit(capsys, LLAMA_70B, "--gpu", "t4", "-o", "manifest")
    assert (status, out) == (1, "")
    assert "None of these holds it." in err


def test_json_and_yaml_are_one_mapping_with_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = fit(capsys, LLAMA_8B, "--gpu", "t4,l4", "-o", "json")
    assert json.loads(out) == yaml.safe_load(fit(capsys, LLAMA_8B, "--gpu", "t4,l4", "-o", "yaml")[1])
    page = (FOLDER.parents[2] / "docs" / "fit.md").read_text("utf-8")

    def keys(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            yield from value
            for part in value.values():
                yield from keys(part)
        elif isinstance(value, list):
            for part in value:
                yield from keys(part)

    assert not {key for key in keys(json.loads(out)) if f"`{key}`" not in page}
    assert json.loads(out)["rows"][json.loads(out)["chosen"]]["fits"] is True


def test_what_a_policy_only_warns_of_does_not_fit() -> None:
    world = world_of(T4)
    from plimsoll_operator.api import FitPolicy, parse_object
    from plimsoll_operator.cli.fit.rows import table_of

    policy = {
        "apiVersion": "inference.plimsoll.dev/v1alpha1",
        "kind": "FitPolicy",
        "metadata": {"name": "default"},
        "spec": {"mode": "Warn"},
    }
    world.policies.append(parse_object(FitPolicy, policy))
    found = table_of(table(LLAMA_70B).request, world, (), "files")
    assert mapping_of(found)["fits"] is False


def test_rows_are_refused_without_a_search_for_offers_and_the_whole_table_has_them() -> None:
    found = table(LLAMA_70B, T4, L4)
    refused = [row.main.verdict for row in found.rows]
    assert all(isinstance(verdict, Reject) and not verdict.offers for verdict in refused)
    assert found.best is None
    assert isinstance(found.open, Reject)
    assert found.open.details or found.open.offers
