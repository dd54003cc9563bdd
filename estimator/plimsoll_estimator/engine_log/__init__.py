"""The one reader of vLLM's start-up log, releases 0.8 to 0.33: text in, one frozen value out. Reads no file and no cluster."""

from plimsoll_estimator.engine_log.reader import failure_of, read_engine_log
from plimsoll_estimator.engine_log.values import MEMORY_COMPONENTS, EngineLog, Failure, FailureCause, Figure, Times, WorkerLog

__all__ = ["MEMORY_COMPONENTS", "EngineLog", "Failure", "FailureCause", "Figure", "Times", "WorkerLog", "failure_of", "read_engine_log"]
