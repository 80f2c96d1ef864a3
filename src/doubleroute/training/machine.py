"""What the machine can do: device, number formats, threads."""

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from doubleroute.hardware import multiplies_bfloat16, tokens_on_gpu

#: Options of glibc's mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def compute_device() -> torch.device:
    """The GPU of this process (``LOCAL_RANK`` under accelerate), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def resolve_precision(wanted: str) -> str:
    """``auto`` -> bfloat16 where the processor multiplies it natively, else float32."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if multiplies_bfloat16() else "float32"


def autocast(precision: str) -> AbstractContextManager[object]:
    """Matrix products in bfloat16 when asked for; sums, norms and losses stay in float32."""
    if precision == "bfloat16":
        return torch.autocast(compute_device().type, dtype=torch.bfloat16)
    return nullcontext()


def tokens_a_pass(longest: int) -> int:
    """Tokens a pass of a frozen model whose states are kept, over rows of at most ``longest``: enough to fill
    the matrix units, on a processor few enough for its caches."""
    return 4096 if compute_device().type == "cpu" else tokens_on_gpu(longest)


def give_back_memory() -> None:
    """Let other processes have the memory of the GPU that this one does not use any more."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def gpus() -> int:
    """How many GPUs there are."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next step instead of giving every large block back to the
    system, which then clears each of its pages again: 32 rows of 128 tokens have 25 MB of inner float32
    states in each of MiniLM's feed-forward layers. Only glibc has the option; elsewhere this does nothing."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(option, 1 << 30)
