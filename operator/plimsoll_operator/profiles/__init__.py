"""Model profiles made from a checkpoint's small files: config.json, side files and safetensors headers, never weights."""
