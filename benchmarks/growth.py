"""How seconds and memory of a stage grow with the rows: 300, 3,000 and 30,000 of them.

    python benchmarks/growth.py [--plot docs/growth.svg] [--sizes 300 3000 30000]

Rows are Rotten Tomatoes reviews, repeated with a few words exchanged, so that none is a duplicate. Every
stage and size runs in a process of its own, which has run the stage on a few rows before, so that imports
and first calls do not count: the seconds of the work, and by how much the peak of the process's memory grew
beyond what it was when the work began. The encoder is a random one of two layers and 32 units, so that what
is not the encoder shows.

validate: read, check and split; tokenise: ids of all rows; cache: the outputs of the encoder's first layer,
on disk; predict: `doubleroute predict`'s own loop from a file to a file; drift: the embeddings' test, one
half against the other, on at most 5,000 rows of each as the drift check samples them.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from measure import grown
from overhead import ENCODER
from reviews import read

SIZES = (300, 3000, 30000)
STAGES = ("validate", "tokenise", "cache", "predict", "drift")
FEW = 100
#: Rows of a side that the drift check samples at most by default.
MOST = 5000
#: What is timed.
Work = Callable[[], object]


def main() -> None:
    """Measure all, or one stage in this process."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--plot", type=Path, help="draw the curves into this SVG file")
    parser.add_argument("--only", nargs=2, metavar=("STAGE", "FOLDER"))
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(options.only[0], Path(options.only[1]))))
        return
    found: dict[str, dict[int, dict[str, float]]] = {stage: {} for stage in STAGES}
    with tempfile.TemporaryDirectory(prefix="doubleroute-") as scratch:
        encoder = Path(scratch) / "backbone"
        subprocess.run([sys.executable, "-c", ENCODER, str(encoder)], check=True, capture_output=True)
        for size in (FEW, *options.sizes):
            project(Path(scratch) / str(size), size)
            shutil.copytree(encoder, Path(scratch) / str(size) / "backbone")
        for stage in STAGES:
            for size in options.sizes:
                found[stage][size] = apart(stage, Path(scratch) / str(size))
                each = found[stage][size]
                print(f"{stage}, {size:,} rows: {each['seconds']:.3f} s, {each['mb']:.0f} MB", flush=True)
    for stage, by_rows in found.items():
        grown(stage, by_rows)
    if options.plot:
        from plots import growth_plot

        options.plot.write_text(growth_plot(found), encoding="utf-8")


def apart(stage: str, folder: Path) -> dict[str, float]:
    """The seconds and megabytes of a stage, in a process of its own."""
    command = [sys.executable, __file__, "--only", stage, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{stage} of {folder.name} rows ended with {done.returncode}:\n{done.stderr[-3000:]}"
        )
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measured(stage: str, folder: Path) -> dict[str, float]:
    """Run a stage here, after a run on FEW rows."""
    with tempfile.TemporaryDirectory() as scratch:
        few = Path(scratch) / str(FEW)
        shutil.copytree(folder.with_name(few.name), few)
        PREPARED[stage](few)()
    work = PREPARED[stage](folder)
    before = peak()
    begun = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - begun, "mb": peak() - before}


def peak() -> float:
    """The most memory that this process had, in MB (10**6 bytes).

    Not by getrusage where there is /proc: Linux carries its figure through fork and exec, so that a process
    begins with the peak of the one that started it.
    """
    about = Path("/proc/self/status")
    if about.is_file():
        lines = about.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def project(folder: Path, size: int) -> None:
    """A project on so many rows, but for its encoder."""
    folder.mkdir()
    texts, labels = read()["rotten_tomatoes"]
    draw = np.random.default_rng(size)
    words = sorted({word for text in texts[:300] for word in text.split()})
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for row in range(size):
            new = texts[row % 300].split()
            for place in draw.integers(0, len(new), 4):
                new[place] = words[int(draw.integers(len(words)))]
            line = {"text": f"{' '.join(new)} {row}", "label": labels[row % 300]}
            file.write(json.dumps(line) + "\n")
    (folder / "project.yaml").write_text(
        "name: growth\nbackbone: {source: backbone, max_tokens: 32}\n"
        "tasks: {mood: {kind: classification, files: {train: rows.jsonl}, "
        "split: {validation: 0.05, test: 0.05}}}\n"
        "training: {epochs: 1, trainable: 1, precision: float32}\n",
        encoding="utf-8",
    )


def validating(folder: Path) -> Work:
    """The validation stage, Great Expectations and Data Docs included."""
    from doubleroute.config import load_project
    from doubleroute.integrations.validation import validate
    from doubleroute.workspace import Workspace

    return lambda: validate(load_project(folder), Workspace(folder))


def tokenising(folder: Path) -> Work:
    """The tokenise stage."""
    from doubleroute.training.encode import encode
    from doubleroute.workspace import Workspace

    project, validated = _validated(folder)
    return lambda: encode(project, Workspace(folder), validated)


def caching(folder: Path) -> Work:
    """The stage of the stored outputs of the lower layer."""
    from doubleroute.training.encode import encode
    from doubleroute.training.ladder import store
    from doubleroute.training.plan import FROM_NOTHING
    from doubleroute.workspace import Workspace

    project, validated = _validated(folder)
    workspace = Workspace(folder)
    encoded = encode(project, workspace, validated)
    return lambda: store(project, workspace, encoded, lambda *_: None, FROM_NOTHING, ["plain"])


def predicting(folder: Path) -> Work:
    """From a file to a file, as `doubleroute predict` does it."""
    from doubleroute.modeling.backbone import load_backbone, load_tokenizer
    from doubleroute.modeling.inference import Answerer
    from doubleroute.modeling.model import DoublerouteConfig, assemble
    from doubleroute.modeling.source import locate
    from doubleroute.serving.predictor import predict, write
    from doubleroute.serving.requests import read_requests

    source = locate("backbone", folder)
    backbone = load_backbone(source)
    head = {"kind": "classification", "pooling": "mean", "dropout": 0.0, "weight": 1.0}
    config = DoublerouteConfig(
        backbone=backbone.config.to_dict(), tasks={"mood": {**head, "labels": ["0", "1"]}}, max_tokens=32
    )
    assemble(config, backbone, seed=17).save_pretrained(folder / "model")
    load_tokenizer(source).save_pretrained(folder / "model")
    answerer = Answerer(folder / "model")
    answerer.answer([{"text": "the first call allocates"}])

    def work() -> None:
        requests = read_requests(folder / "rows.jsonl")
        write(predict(answerer, requests), answerer.tasks, folder / "answers.jsonl")

    return work


def drifting(folder: Path) -> Work:
    """The embeddings' test on as many rows as the check takes of so many."""
    from doubleroute.drift import statistics

    rows = min(MOST, int(folder.name) // 2)
    sides = np.random.default_rng(17).standard_normal((2, rows, 384), dtype=np.float32)
    return lambda: statistics.mmd(sides[0], sides[1], 1024, 200, 17)


PREPARED: dict[str, Callable[[Path], Work]] = {
    "validate": validating,
    "tokenise": tokenising,
    "cache": caching,
    "predict": predicting,
    "drift": drifting,
}


def _validated(folder: Path) -> tuple[Any, Any]:
    """The project and its validation stage, which an earlier process has built."""
    from doubleroute.config import load_project
    from doubleroute.integrations.validation import validate
    from doubleroute.workspace import Workspace

    project = load_project(folder)
    return project, validate(project, Workspace(folder))


if __name__ == "__main__":
    main()
