"""What a refusal or a warning says first is what its reader can act on: the pool that almost matched, the GPUs that there are, the pin."""

from __future__ import annotations

import pytest
from tests.plimsoll_operator.decision_world import Files, admitted, refused, verdict
from tests.plimsoll_operator.nodes import H100, L4, T4, gpu_node

H100_NAME = "NVIDIA-H100-80GB-HBM3"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
TAINTED = gpu_node("h100", H100_NAME, 8, 81559, taints=[{"key": "dedicated", "value": "training", "effect": "NoSchedule"}])


def test_the_pool_that_has_the_gpus_is_named_with_what_keeps_it_out_before_all_others() -> None:
    found = refused(verdict(placement={"gpuProducts": [H100_NAME]}, store=Files(L4, T4, TAINTED)))
    assert "dedicated=training:NoSchedule, which is not tolerated" in found.message
    assert "dedicated=training" in found.details[0]


def test_many_pools_of_other_gpus_are_one_line() -> None:
    others = [gpu_node(f"n{gpus}", "NVIDIA-L4", gpus) for gpus in range(1, 12)]
    found = refused(verdict(placement={"gpuProducts": [H100_NAME]}, store=Files(*others, T4, TAINTED)))
    assert found.details[1:] == ("The other 12 pools have NVIDIA-L4, Tesla-T4.",)


def test_a_short_name_is_answered_with_the_product_and_an_offer_of_it() -> None:
    found = refused(verdict(placement={"gpuProducts": ["h100"]}, store=Files(L4, T4, H100)))
    assert f"did you mean {H100_NAME}?" in found.message
    assert H100_NAME in found.offers[0].patch_json


def test_a_word_that_is_no_part_of_a_product_is_not_guessed_at() -> None:
    assert "did you mean" not in refused(verdict(placement={"gpuProducts": ["NVIDIA"]}, store=Files(L4, T4))).message


def test_replicas_for_which_there_are_no_gpus_at_all_are_not_said_to_wait_for_free_ones() -> None:
    found = admitted(verdict(replicas=200, placement={"gpuProducts": ["NVIDIA-L4"]}, store=Files(L4)))
    assert "not enough GPUs for 200 replicas of 1 GPU: its pool holds 4 such at most" in found.of_now
    assert found.of_now in found.warnings
    assert admitted(verdict(replicas=4, placement={"gpuProducts": ["NVIDIA-L4"]}, store=Files(L4))).of_now == ""


@pytest.mark.parametrize(("utilisation", "warned"), [(0.3, True), (0.9, False)])
def test_a_pin_that_moves_the_plan_to_dearer_gpus_is_said_with_what_would_do_without(utilisation: float, warned: bool) -> None:
    found = admitted(verdict(engine={"gpuMemoryUtilization": utilisation}, store=Files(L4, H100)))
    lines = [line for line in found.warnings if line.startswith(f"Pinned engine.gpuMemoryUtilization {utilisation}")]
    assert bool(lines) == warned
    assert all(H100_NAME in line and "without it 1 x NVIDIA-L4 would do" in line for line in lines)


def test_a_utilisation_of_1_is_refused_with_the_most_that_may_be_pinned() -> None:
    found = refused(verdict(engine={"gpuMemoryUtilization": 1}, store=Files(L4)))
    assert found.field == "spec.engine.gpuMemoryUtilization"
    assert any("at most 0.9" in line for line in found.details)


def test_what_no_gpu_asked_for_holds_is_said_to_run_on_larger_ones_and_over_nodes() -> None:
    found = refused(verdict(DEEPSEEK, placement={"gpuProducts": [H100_NAME]}, store=Files(H100)))
    said = " ".join(found.details)
    assert "8 x NVIDIA-H200" in said
    assert "Over 2 nodes it would run on 16 x NVIDIA-H100-80GB-HBM3" in said
    assert "LeaderWorkerSet" in said


def test_a_quantization_that_the_release_has_not_is_refused_with_those_it_has() -> None:
    assert "it has awq, " in refused(verdict(engine={"quantization": "int4"}, store=Files(L4))).message


def test_containers_that_may_not_start_as_root_are_warned_of_unless_a_user_is_named() -> None:
    def warned(**security: object) -> bool:
        found = admitted(verdict(template={"securityContext": security}, store=Files(L4)))
        return any("securityContext.runAsUser" in line for line in found.warnings)

    assert warned(runAsNonRoot=True)
    assert not warned(runAsNonRoot=True, runAsUser=1000)
    assert not warned(fsGroup=1)


def test_what_keeps_every_pool_out_stands_in_the_message_since_status_has_no_line_for_each() -> None:
    tainted = [
        gpu_node(f"t{gpus}", "NVIDIA-L4", gpus, taints=[{"key": "team", "value": "a", "effect": "NoSchedule"}]) for gpus in (1, 2, 4)
    ]
    found = refused(verdict(store=Files(*tainted, TAINTED))).message
    assert ", as 2 more, has taint team=a:NoSchedule, which is not tolerated; pool " in found
    assert found.endswith("has taint dedicated=training:NoSchedule, which is not tolerated.")


def test_a_product_that_no_pool_has_is_answered_with_those_there_are() -> None:
    found = refused(verdict(placement={"gpuProducts": ["NVIDIA-H200"]}, store=Files(L4, T4)))
    assert found.message == "No GPU pool matches placement: no pool has NVIDIA-H200, but NVIDIA-L4, Tesla-T4."


@pytest.mark.parametrize(
    ("argument", "field"),
    [(["--port", "8001"], "spec.engine.port"), (["--model", "x"], "spec.model.name"), (["--model=x"], "spec.model.name")],
)
def test_an_argument_that_a_field_says_is_answered_with_the_field(argument: list[str], field: str) -> None:
    found = refused(verdict(engine={"extraArgs": argument}, store=Files(L4)))
    assert found.field == "spec.engine.extraArgs"
    assert f"is what {field} says" in found.message
    assert "leave it out here" in found.message
