"""What PyTorch computes with, found without importing it: that takes seconds.

It is asked itself where nothing else knows for certain.
"""

import ctypes
import os
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

#: Tokens a pass of a model on a GPU, padding included: on an H200 a small encoder gives the states of 1.4
#: times as many a second in float32 as with 4,096, and of three to five times as many in bfloat16.
_TOKENS_ON_GPU = 16_384
#: Longer rows than this get fewer, down to the least.
_LONG, _LEAST_ON_GPU = 256, 4096
#: NVIDIA's driver, as PyTorch loads it.
_DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
#: at::get_num_threads, which is torch.get_num_threads.
_THREADS = "_ZN2at15get_num_threadsEv"


def tokens_on_gpu(longest: int) -> int:
    """Tokens a pass of a model on a GPU over rows of at most ``longest``: fewer of long ones, as the memory
    of attention grows with their square."""
    return max(_LEAST_ON_GPU, _TOKENS_ON_GPU * _LONG // max(longest, _LONG))


class Processor(NamedTuple):
    """What PyTorch has on the processor: bfloat16 in hardware, and threads."""

    bfloat16: bool
    threads: int


def may_have_gpu() -> bool:
    """Whether PyTorch may compute on a GPU; where this is False it does not."""
    libraries = _torch_libraries()
    # Without the processor's they lie elsewhere, as in a distribution's package: PyTorch knows.
    if any("_hip" in path.name for path in libraries) or not any("torch_cpu" in p.name for p in libraries):
        return True
    if not any("_cuda" in path.name for path in libraries):
        return False
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True


def has_gpu() -> bool:
    """Whether PyTorch computes on a GPU; it is imported where it may."""
    if not may_have_gpu():
        return False
    import torch

    return torch.cuda.is_available()


def processor() -> Processor:
    """What PyTorch has on the processor: its libraries are loaded and asked, and where that says nothing it
    is imported. Raises ImportError or OSError when that fails: its installation is broken."""
    threads = _threads()
    if threads is None:
        import torch

        threads = torch.get_num_threads()
    return Processor(multiplies_bfloat16(), threads)


def multiplies_bfloat16() -> bool:
    """Whether the processor has products of bfloat16 in hardware. Raises ImportError or OSError where PyTorch
    has to be asked and is broken."""
    flags = _flags()
    if flags is not None:
        return bool(flags & {"avx512_bf16", "amx_tile"})
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _flags() -> set[str] | None:
    """What the processor can, as Linux names it; None on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    named = (line.partition(":") for line in lines)
    return {flag for name, _, found in named if name.strip() == "flags" for flag in found.split()}


def _threads() -> int | None:
    """The threads that PyTorch would use; None when its libraries do not load by themselves."""
    try:
        loaded = [ctypes.CDLL(str(path)) for path in _torch_libraries("torch_python", "torch_cpu")]
        return int(loaded[-1][_THREADS]()) if len(loaded) == 2 else None
    except (OSError, AttributeError):
        return None


def _torch_libraries(*names: str) -> list[Path]:
    """PyTorch's shared libraries of these names, or all; none where it is not installed."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "lib"
    found = [path for name in names or ("torch*",) for path in folder.glob(f"*{name}.*")]
    return [path for path in found if path.suffix in (".so", ".dylib", ".dll")]
