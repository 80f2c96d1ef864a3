"""What PyTorch computes with is known without it, and is what it says itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from doubleroute import hardware

ASK = """
import sys
from doubleroute import hardware

found = hardware.has_gpu(), *hardware.processor()
early = "torch" in sys.modules
import torch

fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
assert found == (torch.cuda.is_available(), fast, torch.get_num_threads()), found
print(early)
"""


@pytest.mark.costly
@pytest.mark.parametrize("threads", ["1", "3", None])
def test_processor_and_gpu_are_those_that_pytorch_names(
    threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    if sys.platform == "linux" and not hardware.may_have_gpu():
        assert done.stdout.strip() == "False", "it was imported"


def test_a_hidden_gpu_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('not whole')")
    for name in ("libtorch_cpu.so", "libtorch_cuda.so"):
        (tmp_path / "torch" / "lib" / name).touch()
    code = "from doubleroute import hardware; print(hardware.has_gpu())"
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(hardware.__file__).parents[1]}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.stdout == "False\n", done.stderr
