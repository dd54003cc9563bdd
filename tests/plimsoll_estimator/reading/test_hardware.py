"""What gpu_from makes of labels and totals."""

from typing import Any

import pytest

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hardware import gpu_from, known_gpus, usable_from_label
from plimsoll_estimator.units import GIB, MIB

# label MiB and the total CUDA reported, in MiB, for products where both are public.
LABEL_AND_TOTAL = [
    ("Tesla-T4", 15360, 14920),
    ("Tesla-V100-SXM2-32GB", 32768, 32512),
    ("NVIDIA-A10G", 23028, 22589),
    ("NVIDIA-L4", 23034, 22559),
    ("NVIDIA-L40S", 46068, 45466),
    ("NVIDIA-A100-SXM4-40GB", 40960, 40325),
    ("NVIDIA-A100-SXM4-80GB", 81920, 81050),
    ("NVIDIA-H100-80GB-HBM3", 81559, 80998),
    ("NVIDIA-H200", 143771, 143155),
    ("NVIDIA-GH200-480GB", 97871, 96768),
    ("NVIDIA-B200", 183359, 182630),
    ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", 4864, 4864),
]


@pytest.mark.parametrize(("product", "label", "total"), LABEL_AND_TOTAL)
def test_the_rule_for_unknown_products_never_reservations_more_than_cuda_reports(product: str, label: int, total: int) -> None:
    usable = usable_from_label(product, label) // MIB
    assert total - 900 <= usable <= total


@pytest.mark.parametrize(("product", "label", "total"), [row for row in LABEL_AND_TOTAL if "MIG" not in row[0]])
def test_the_table_lies_within_a_hundredth_of_what_was_seen(product: str, label: int, total: int) -> None:
    assert abs(known_gpus()[product].total_memory_bytes / MIB - total) < 0.01 * total


def test_a_measured_total_wins_over_the_table_and_the_table_over_the_label() -> None:
    measured = gpu_from("NVIDIA-L4", 23034, 22 * GIB)
    assert (measured.total_memory_bytes, measured.total_is_exact) == (22 * GIB, True)
    tabled = gpu_from("NVIDIA-L4", 9999)
    assert tabled.total_memory_bytes == known_gpus()["NVIDIA-L4"].total_memory_bytes


def test_an_unknown_product_of_a_known_generation_is_taken_from_its_label_and_marked() -> None:
    gpu = gpu_from("NVIDIA-RTX-4000-Ada-Generation", 20475)
    assert gpu.compute_capability == (8, 9)
    assert not gpu.total_is_exact
    assert gpu.total_memory_bytes < 20475 * MIB


def test_a_mig_slice_has_the_generation_of_its_card_and_the_memory_of_its_label() -> None:
    gpu = gpu_from("NVIDIA-H100-80GB-HBM3-MIG-3g.40gb", 40448)
    assert gpu.total_memory_bytes == 40448 * MIB
    assert gpu.compute_capability == (9, 0)


def test_a_shared_label_names_the_same_card() -> None:
    assert gpu_from("NVIDIA-L4-SHARED").total_memory_bytes == gpu_from("NVIDIA-L4").total_memory_bytes


@pytest.mark.parametrize(
    ("product", "label", "reason"),
    [
        (None, None, "UnknownGpu"),
        ("AMD-Instinct-MI300X", 196608, "UnknownGpu"),
        ("NVIDIA-RTX-4000-Ada-Generation", None, "UnknownGpuMemory"),
    ],
)
def test_nothing_is_guessed_about_unknown_cards(product: str | None, label: int | None, reason: str) -> None:
    with pytest.raises(Unsupported) as caught:
        gpu_from(product, label)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "arguments",
    [
        {"total_memory_bytes": 0},
        {"free_memory_bytes": -1},
        {"label_memory_mib": -5},
        {"interconnect": "carrier pigeon"},
        {"driver_major": 0},
    ],
)
def test_values_out_of_range_are_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        gpu_from("NVIDIA-L4", **arguments)
    assert caught.value.field == f"gpu.{next(iter(arguments))}"


WHOSE = [  # NVIDIA, "CUDA GPU Compute Capability" (generations of Jetson and GB10 alone) and "CUDA for Tegra" (one memory with the CPU)
    ("an Orin by a name of its owner's", "Jetson-AGX-Orin", "8.7", "unified"),
    ("an Orin by its generation, whatever it is called", "acme-edge-board", "8.7", "unified"),
    ("a Thor by CUDA 12's number", "NVIDIA-Thor", "10.1", "unified"),
    ("and by CUDA 13's", "edge", "11.0", "unified"),
    ("a GB10 under another name", "DGX-Spark", "12.1", "unified"),
    ("a superchip that is not listed", "NVIDIA-GH200-144G-HBM3e", None, "coherent"),
    ("a card whose name only begins so", "NVIDIA-Thorium-1", "8.9", "own"),
    ("a card that is not listed", "NVIDIA-RTX-4000-Ada-Generation", None, "own"),
]


@pytest.mark.parametrize(("why", "product", "capability", "memory"), WHOSE, ids=[row[0] for row in WHOSE])
def test_whose_the_memory_of_an_unlisted_gpu_is(why: str, product: str, capability: str | None, memory: str) -> None:
    assert gpu_from(product, label_memory_mib=30_000, compute_capability=capability).memory == memory
