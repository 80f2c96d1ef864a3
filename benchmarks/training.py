"""How fast all layers are fine-tuned against transformers' Trainer, on one thread each or on the GPU.

    python benchmarks/training.py [--rounds 2] [--rows 384]

Every contender trains MiniLM on the same Rotten Tomatoes reviews, in a process of its own, with batches of
32 rows and AdamW; the others as their documentation has it. Counted are real tokens, no padding, and the
seconds after the first steps. The limit is what the thread's matrix products alone would take in bfloat16:
64.5 MFLOP a token, forward and backward, at the rate that torch reaches on products of the model's sizes.
A processor that has no bfloat16 takes many times as long for it: there everybody is given float32, and the
lines say so. On a GPU all reviews are learned from, as a step takes milliseconds, and the limit is that of
products so large that they fill it: with batches of 32 sentences nobody comes near.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parent))

from measure import Line, tell
from reviews import MAX_TOKENS, SOURCE, read

BATCH = 32
#: Steps before the clock runs: on a GPU its libraries load, and kernels are recorded.
WARM, WARM_ON_GPU = 4, 64
#: Rows; on a GPU all that there are.
ROWS, ROWS_ON_GPU = 384, 10_000
#: Multiplications and additions of MiniLM-L6 a token of 27 on average: forward and backward.
FLOP_A_TOKEN = 64.5e6
#: run_glue.py as its README calls it, and what who knows Trainer adds.
RECIPES: dict[str, dict[str, Any]] = {
    "run_glue": {},
    "lengths and bf16": {"train_sampling_strategy": "group_by_length", "bf16": True},
}


def main() -> None:
    """Print the lines, or run one contender and print its tokens a second."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--only", choices=["ours", *RECIPES, "products"])
    options = parser.parse_args()
    many = options.rows or (ROWS_ON_GPU if gpu() else ROWS)
    if options.only:
        run = {"ours": ours, "products": products}.get(options.only, lambda rows: trainer(options.only, rows))
        print(json.dumps(run(many)))
        return
    names = ("ours", *RECIPES, "products")
    # The slow recipe sees fewer rows: its speed does not depend on how many there are.
    rows = {name: many // (4 if name == "run_glue" and not gpu() else 1) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            found[name].append(apart(name, rows[name]))
    limit = sorted(found["products"])[-1] / FLOP_A_TOKEN
    many = len(reviews(many)[0])
    what = f"training all layers, {many:,} reviews, {gpu() or 'one thread'}"
    note = f"products reach {max(found['products']) / 1e9:,.0f} GFLOP/s"
    note += "" if native_bfloat16() else "; float32 everywhere, as this processor has no bfloat16"
    against = "transformers' run_glue recipe: padded to 128, fp32"
    tell(Line(what, against, "tokens/s", found["ours"], found["run_glue"], 8, limit, note))
    against = f"Trainer with length groups and {fastest()}"
    tell(Line(what, against, "tokens/s", found["ours"], found["lengths and bf16"], 1.25, limit, note))


def apart(name: str, rows: int) -> float:
    """The figure of one contender, from a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--rows", str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def gpu() -> str | None:
    """The name of the GPU; None without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def warm(rows: int) -> int:
    """Steps before the clock runs: at most half of those that there are."""
    return min(WARM_ON_GPU if gpu() else WARM, rows // BATCH // 2)


def wait() -> None:
    """Until the GPU, if there is one, has done what it was told."""
    import torch

    if gpu():
        torch.cuda.synchronize()


def native_bfloat16() -> bool:
    """Whether the processor, or the GPU, multiplies bfloat16 itself."""
    from doubleroute.training.machine import resolve_precision

    return resolve_precision("auto") == "bfloat16"


def fastest() -> str:
    """In what ours computes, and Trainer as who knows it calls it, as the lines name it."""
    return "bf16" if native_bfloat16() else "fp32"


def reviews(rows: int) -> tuple[list[str], list[str]]:
    """The first so many, in the seeded order of ``read``."""
    texts, labels = read()["rotten_tomatoes"]
    return texts[:rows], labels[:rows]


def trainer(recipe: str, rows: int) -> float:
    """Tokens a second of Trainer."""
    import torch
    from torch.utils.data import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from doubleroute.modeling.source import locate

    folder = locate(SOURCE, Path()).folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    texts, labels = reviews(rows)
    options = dict(RECIPES[recipe])
    if not native_bfloat16():
        options.pop("bf16", None)
    padding: Any = False if options else "max_length"
    encoded = tokenizer(texts, truncation=True, max_length=MAX_TOKENS, padding=padding)

    class Rows(Dataset[Any]):
        def __len__(self) -> int:
            return len(texts)

        def __getitem__(self, row: int) -> dict[str, Any]:
            return {**{key: encoded[key][row] for key in encoded}, "labels": int(labels[row])}

    class Clock(TrainerCallback):
        begun, tokens, warm = 0.0, torch.tensor(0), warm(len(texts))

        def on_step_end(self, _: Any, state: Any, __: Any, **___: Any) -> None:
            if state.global_step == Clock.warm:
                wait()
                Clock.begun, Clock.tokens = time.perf_counter(), torch.tensor(0)

    class Counted(Trainer):
        def training_step(self, model: Any, inputs: Any, *rest: Any) -> Any:
            mask = inputs["attention_mask"]
            Clock.tokens = Clock.tokens.to(mask.device) + mask.sum()  # asking for it would wait for a GPU
            return super().training_step(model, inputs, *rest)

    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=BATCH,
            learning_rate=2e-5,
            num_train_epochs=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            **options,
        )
        collator = DataCollatorWithPadding(tokenizer)
        Counted(model, arguments, collator, train_dataset=Rows(), callbacks=[Clock()]).train()
        wait()
        spent = time.perf_counter() - Clock.begun
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
    return int(Clock.tokens) / spent


def ours(rows: int) -> float:
    """Tokens a second of a fit's own loop, as `doubleroute train` runs it with `trainable: all`."""
    from fits import learner_of, ready, train, write_rows

    texts, labels = reviews(rows)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_rows(
            root / "rows.jsonl",
            ({"text": text, "label": label} for text, label in zip(texts, labels, strict=True)),
        )
        (root / "project.yaml").write_text(
            f"name: bench\nbackbone: {{source: '{SOURCE}', max_tokens: {MAX_TOKENS}}}\n"
            "tasks: {sentiment: {kind: classification, files: {train: rows.jsonl}, "
            "split: {validation: 0.02, test: 0.02}}}\n"
            f"training: {{epochs: 1, batch_size: {BATCH}, trainable: all, checkpoint_seconds: 3600}}\n",
            encoding="utf-8",
        )
        points = train(learner_of(ready(root)), root / "out")
        begun = warm(len(texts))
        first, last = next(each for each in points if each["step"] >= begun), points[-1]
        tokens = [each["tokens_per_second"] * each["seconds"] for each in (first, last)]
        return float((tokens[1] - tokens[0]) / (last["seconds"] - first["seconds"]))


def products(_: int) -> float:
    """Floating-point operations a second of products of the model's sizes."""
    import torch

    form = torch.bfloat16 if native_bfloat16() else torch.float32
    device, tokens = ("cuda", 65_536) if gpu() else ("cpu", 864)
    states = torch.randn(tokens, 384, dtype=form, device=device)
    weights = [torch.randn(384, width, dtype=form, device=device) for width in (384, 1536)]
    best = 0.0
    for weight in weights:
        operations, times = 2 * tokens * weight.numel(), 50
        for _ in range(5):
            wait()
            begun = time.perf_counter()
            for _ in range(times):
                states @ weight
            wait()
            best = max(best, operations * times / (time.perf_counter() - begun))
    return best


if __name__ == "__main__":
    main()
