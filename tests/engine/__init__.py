"""Random wishes through the engine's own parser and configuration: `python -m tests.engine`."""
