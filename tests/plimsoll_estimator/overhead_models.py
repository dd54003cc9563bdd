"""Llama-3.1-8B's dimensions, which many tests start from, and models whose overheads vLLM has reported."""

from typing import Any


def model(**changes: Any) -> dict[str, Any]:
    """A config.json with Llama-3.1-8B's dimensions, but for `changes`."""
    base: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16",
    }
    return {**base, **changes}


GEMMA_2_27B = model(
    architectures=["Gemma2ForCausalLM"],
    model_type="gemma2",
    hidden_size=4608,
    intermediate_size=36864,
    num_hidden_layers=46,
    vocab_size=256000,
    num_key_value_heads=16,
)


QWEN_MOE = model(
    architectures=["Qwen2MoeForCausalLM"],
    model_type="qwen2_moe",
    hidden_size=2048,
    num_hidden_layers=24,
    num_attention_heads=16,
    num_key_value_heads=16,
    num_experts=60,
    num_experts_per_tok=4,
    moe_intermediate_size=1408,
    shared_expert_intermediate_size=5632,
    vocab_size=151936,
)


LATENT = model(
    architectures=["DeepseekV2ForCausalLM"],
    model_type="deepseek_v2",
    kv_lora_rank=512,
    qk_rope_head_dim=64,
    qk_nope_head_dim=128,
    v_head_dim=128,
)


GPT_OSS = model(
    architectures=["GptOssForCausalLM"],
    model_type="gpt_oss",
    hidden_size=2880,
    intermediate_size=2880,
    num_hidden_layers=36,
    num_attention_heads=64,
    head_dim=64,
    num_local_experts=128,
    num_experts_per_tok=4,
    vocab_size=201088,
)


QWEN3_NEXT = model(
    architectures=["Qwen3NextForCausalLM"],
    model_type="qwen3_next",
    hidden_size=2048,
    num_hidden_layers=48,
    num_attention_heads=16,
    num_key_value_heads=2,
    head_dim=256,
    num_experts=512,
    num_experts_per_tok=10,
    moe_intermediate_size=512,
    shared_expert_intermediate_size=512,
    linear_num_key_heads=16,
    linear_num_value_heads=32,
    linear_key_head_dim=128,
    linear_value_head_dim=128,
    linear_conv_kernel_dim=4,
    full_attention_interval=4,
)
