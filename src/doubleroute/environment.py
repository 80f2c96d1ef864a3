"""What the tools read from the environment, set before they are imported; the user's own values win."""

import gc
import os
import resource

_DEFAULTS = {
    # Nothing reports usage.
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Threads that wait sleep: spinning ones halve the speed of two threads when anything else runs too.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Nothing unpickles a model.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # We say what happens, in our own words.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # a server of the user's gets warnings and errors
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "TRANSFORMERS_VERBOSITY": "error",
}
#: Files that a process may have open, where the system allows so many: each stored array that is mapped into
#: memory is one, and there are some for each task, split and layer. macOS takes no larger limit.
_OPEN_FILES = 10_240


def set_defaults() -> None:
    """Set what is not set yet, and allow _OPEN_FILES, here and in child processes."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def collect_rarely() -> None:
    """Let Python look for cyclic garbage after 100,000 new objects, not after 700: imports make a million
    that stay, and looking through them again and again is a quarter of the imports' time."""
    gc.set_threshold(100_000, 50, 100)
