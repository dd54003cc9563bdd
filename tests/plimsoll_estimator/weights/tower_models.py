"""Configs of models that see and hear, as published."""

from __future__ import annotations

from typing import Any

QWEN3_OMNI: dict[str, Any] = {
    "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
    "model_type": "qwen3_omni_moe",
    "thinker_config": {
        "audio_config": {
            "d_model": 1280,
            "encoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
            "encoder_layers": 32,
            "downsample_hidden_size": 480,
            "num_mel_bins": 128,
            "max_source_positions": 1500,
            "output_dim": 2048,
        },
        "vision_config": {
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_heads": 16,
            "out_hidden_size": 2048,
            "patch_size": 16,
            "image_size": 768,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        "text_config": {
            "model_type": "qwen3_omni_moe_text",
            "hidden_size": 2048,
            "intermediate_size": 768,
            "moe_intermediate_size": 768,
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "num_experts": 128,
            "vocab_size": 152064,
            "max_position_embeddings": 65536,
            "rope_scaling": {"mrope_section": [24, 20, 20], "rope_type": "default", "mrope_interleaved": True},
        },
    },
}


DEEPSEEK_OCR: dict[str, Any] = {
    "architectures": ["DeepseekOCRForCausalLM"],
    "model_type": "deepseek_vl_v2",
    "projector_config": {"input_dim": 2048, "n_embed": 1280, "projector_type": "linear"},
    "vision_config": {"model_name": "deeplip_b_l", "model_type": "vision"},
    "language_config": {
        "architectures": ["DeepseekV2ForCausalLM"],
        "first_k_dense_replace": 1,
        "hidden_size": 1280,
        "intermediate_size": 6848,
        "kv_lora_rank": None,
        "max_position_embeddings": 8192,
        "moe_intermediate_size": 896,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "num_attention_heads": 10,
        "num_experts_per_tok": 6,
        "num_hidden_layers": 12,
        "num_key_value_heads": 10,
        "qk_nope_head_dim": 0,
        "qk_rope_head_dim": 0,
        "use_mla": False,
        "v_head_dim": 0,
        "vocab_size": 129280,
    },
}


PHI4MM: dict[str, Any] = {
    "architectures": ["Phi4MMForCausalLM"],
    "model_type": "phi4mm",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "vocab_size": 200064,
    "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096,
    "partial_rotary_factor": 0.75,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [1.0] * 48},
    "tie_word_embeddings": True,
    "img_processor": None,
    "embd_layer": {"audio_embd_layer": {"downsample_rate": 1, "projection_cls": "mlp", "use_qformer": False}},
    "audio_processor": {
        "name": "cascades",
        "config": {
            "attention_dim": 1024,
            "attention_heads": 16,
            "batch_norm": False,
            "bias_in_glu": True,
            "depthwise_multiplier": 1,
            "depthwise_seperable_out_channel": 1024,
            "encoder_embedding_config": {"input_size": 80},
            "ext_pw_kernel_size": 1,
            "ext_pw_out_channel": 1024,
            "input_size": 80,
            "kernel_size": 3,
            "linear_units": 1536,
            "nemo_conv_settings": {"conv_channels": 1024},
            "num_blocks": 24,
            "relative_attention_bias_args": {"t5_bias_max_distance": 500, "type": "t5"},
            "time_reduction": 8,
        },
    },
}
