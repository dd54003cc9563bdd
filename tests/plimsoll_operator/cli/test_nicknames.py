"""What people call GPUs and models."""

import pytest

from plimsoll_estimator import InvalidInput, known_gpus
from plimsoll_operator.cli.nicknames import gpu_among, gpu_named, model_called

H100, A100_40, A100_80 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-SXM4-80GB"
CALLED = [
    ("H100", H100, None),
    ("h100", H100, None),
    ("h100-80gb", H100, None),
    ("A100", A100_40, None),
    ("A100-80GB", A100_80, None),
    ("a100 80gb pcie", "NVIDIA-A100-80GB-PCIe", None),
    ("h100-pcie", "NVIDIA-H100-PCIe", None),
    ("4090", "NVIDIA-GeForce-RTX-4090", None),
    ("rtx4090", "NVIDIA-GeForce-RTX-4090", None),
    ("5090", "NVIDIA-GeForce-RTX-5090", None),
    ("5090 laptop", "NVIDIA-GeForce-RTX-5090-Laptop-GPU", None),
    ("nvidia-tesla-t4", "Tesla-T4", None),
    ("nvidia-l4", "NVIDIA-L4", None),
    ("l40s", "NVIDIA-L40S", None),
    ("v100-32gb", "Tesla-V100-SXM2-32GB", None),
    ("2xH100", H100, 2),
    ("8 x h100", H100, 8),
    ("L40S:4", "NVIDIA-L40S", 4),
]


@pytest.mark.parametrize(("word", "product", "gpus"), CALLED, ids=[row[0] for row in CALLED])
def test_a_word_stands_for_a_product_and_a_count(word: str, product: str, gpus: int | None) -> None:
    found = gpu_named(word, "--gpu")
    assert (found.products[0], found.gpus) == (product, gpus)


@pytest.mark.parametrize("product", known_gpus())
def test_a_product_s_own_name_is_that_product_alone(product: str) -> None:
    assert gpu_named(product, "--gpu").products == (product,)


def test_cards_of_one_name_and_other_memory_are_all_of_them() -> None:
    assert gpu_named("a100", "--gpu").products == (A100_40, A100_80)


def test_of_a_cluster_s_products_all_that_the_word_names_are_meant() -> None:
    there = ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe", "NVIDIA-L4", "Acme-X1")
    assert gpu_among("h100", "--gpu", there, "").products == there[:2]
    assert gpu_among("acme-x1", "--gpu", there, "").products == ("Acme-X1",)


@pytest.mark.parametrize(
    ("word", "near"),
    [("h10", "NVIDIA-H100-80GB-HBM3"), ("l4x", "NVIDIA-L4"), ("A100-90GB", A100_40), ("RTX-4O90", "NVIDIA-GeForce-RTX-4090")],
)
def test_what_is_nearly_a_name_is_asked_about(word: str, near: str) -> None:
    with pytest.raises(InvalidInput, match="did you mean") as error:
        gpu_named(word, "--gpu")
    assert near in str(error.value)


@pytest.mark.parametrize("word", ["", " ", "xx", "8", "MI300X", "0xh100", "999xh100", "x" * 10_000, "\0", "2x", "é"])
def test_what_is_no_name_is_refused_with_where_to_look(word: str) -> None:
    with pytest.raises(InvalidInput, match=r"plimsoll gpus|must count"):
        gpu_named(word, "--gpu")


@pytest.mark.parametrize(
    ("word", "model"),
    [
        ("llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("LLAMA-3.3-70B", "meta-llama/Llama-3.3-70B-Instruct"),
        ("llama3.3-70b", "meta-llama/Llama-3.3-70B-Instruct"),
        ("llama-3-8b", "meta-llama/Meta-Llama-3-8B"),
        ("meta-llama/llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("qwen3-8b", "Qwen/Qwen3-8B"),
        ("gemma-3-27b", "google/gemma-3-27b-it"),
    ],
)
def test_a_model_has_its_short_name(word: str, model: str) -> None:
    assert (model_called(word) or "").lower() == model.lower()


@pytest.mark.parametrize("word", ["", "llama", "8b", "acme/llama-3.1-8b", "/", "x" * 10_000, "\0"])
def test_what_may_mean_several_or_nothing_means_nothing(word: str) -> None:
    assert model_called(word) is None
