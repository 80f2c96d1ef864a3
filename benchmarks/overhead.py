"""What a run costs beyond its work, in seconds of processor time of all its processes.

    python benchmarks/overhead.py [--rounds 1]

A training of five steps of a random two-layer encoder, with validation, evaluation and registration, by
`doubleroute train`, against a script that uses Prefect with its temporary server, Great Expectations, Trainer
and MLflow on sqlite as their documentation has it, both in a fresh folder. Then the same run again with
nothing changed, and the commands that need no server. Their peer does other work than they do: it is the same
script, which trains. They run where databases are there already, so it stands beside them twice: in the fresh
folder, where Prefect and MLflow make theirs, and run again in the same one.
The limit of what uses these libraries is one process that imports them and does nothing.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import Line, tell

ROWS = 60
#: Commands that need no server, with their arguments, by what they are called.
SERVERLESS = {
    "status": ("status",),
    "history": ("history",),
    "predict with PyTorch": ("predict", "--text", "a good film", "--precision", "torch"),
    "predict with an exported graph": ("predict", "--text", "a good film", "--precision", "float32"),
    "doctor": ("doctor",),
}
#: What imports the libraries that a training, and a prediction with PyTorch, cannot do without, torch too,
#: without looking for garbage meanwhile and at its end, which costs seconds.
TRAINING = """
import gc; gc.disable()
import great_expectations, mlflow, prefect, prefect.server.api.server
from transformers import AutoTokenizer, BertModel
gc.freeze()
"""
PREDICTING = """
import gc; gc.disable()
from transformers import AutoTokenizer, BertModel
gc.freeze()
"""
#: How `doubleroute doctor` ends when it finds something wrong with the machine, which costs no less.
WRONG = 4
PEER = """
import sys
from pathlib import Path

import great_expectations as gx
import mlflow
import pandas
from prefect import flow, task
from torch.utils.data import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

here = Path(sys.argv[1])


class Rows(Dataset):
    def __init__(self, frame, tokenizer):
        self.encoded = tokenizer(frame.text.tolist(), truncation=True, padding="max_length", max_length=16)
        self.labels = frame.label.tolist()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {**{key: self.encoded[key][row] for key in self.encoded}, "labels": self.labels[row]}


@task
def validate():
    frame = pandas.read_json(here / "rows.jsonl", lines=True)
    context = gx.get_context(mode="ephemeral")
    source = context.data_sources.add_pandas("rows")
    batch = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite("rows"))
    suite.add_expectation(gx.expectations.ExpectColumnValuesToNotBeNull(column="text"))
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeInSet(column="label", value_set=[0, 1]))
    assert batch.get_batch(batch_parameters={"dataframe": frame}).validate(suite).success
    return frame


@task
def train(frame):
    tokenizer = AutoTokenizer.from_pretrained(here / "backbone")
    model = AutoModelForSequenceClassification.from_pretrained(here / "backbone", num_labels=2)
    rows = Rows(frame, tokenizer)
    arguments = TrainingArguments(
        str(here / "out"), max_steps=5, per_device_train_batch_size=8, report_to="none", use_cpu=True
    )
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    trainer.train()
    trainer.save_model(str(here / "model"))
    return trainer.evaluate()


@task
def register(scores):
    mlflow.set_tracking_uri(f"sqlite:///{here}/mlflow.db")
    with mlflow.start_run():
        mlflow.log_metrics({key: value for key, value in scores.items() if isinstance(value, float)})
        mlflow.log_artifacts(str(here / "model"), "model")


@flow
def run():
    register(train(validate()))


run()
"""


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=1)
    rounds = parser.parse_args().rounds
    ours, theirs, again, theirs_again = [], [], [], []
    serverless: dict[str, list[float]] = {name: [] for name in SERVERLESS}
    imports: dict[str, list[float]] = {TRAINING: [], PREDICTING: []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            prepare(root)
            peer = [sys.executable, str(root / "peer.py"), str(root)]
            theirs.append(cost(peer, root))
            theirs_again.append(cost(peer, root))
            for script, spent in imports.items():
                spent.append(cost([sys.executable, "-c", script], root))
            doubleroute = str(Path(sys.executable).with_name("doubleroute"))
            ours.append(cost([doubleroute, "train", "--project", str(root)], root))
            again.append(cost([doubleroute, "train", "--project", str(root)], root))
            cost([doubleroute, "export", "--precision", "float32", "--project", str(root)], root)
            for name, (verb, *arguments) in SERVERLESS.items():
                command = [doubleroute, verb, "--project", str(root), *arguments]
                serverless[name].append(cost(command, root, (0, WRONG) if verb == "doctor" else (0,)))
    against = "Prefect's temporary server + Great Expectations + Trainer + MLflow, as in their docs"
    limit, of_predicting = (min(spent) for spent in imports.values())
    work = "a five-step run, with its model read back in a new process"
    tell(Line(work, against, "cpu-s", ours, theirs, 3, limit))
    tell(Line("the same run again, nothing changed", "the first run", "cpu-s", again, ours))
    for name, spent in serverless.items():
        bound = of_predicting if "PyTorch" in name else None
        for line in beside_training(name, spent, theirs, theirs_again, bound):
            tell(line)


def beside_training(
    name: str, spent: list[float], fresh: list[float], again: list[float], limit: float | None
) -> tuple[Line, Line]:
    """The lines of a command that needs no server: against the peer in a fresh folder, and run again."""
    work = f"doubleroute {name}, which needs no server"
    whole = "the whole five-step training by the tools above"
    return (
        Line(work, f"{whole}, in a fresh folder: not the same work", "cpu-s", spent, fresh, 10, limit),
        Line(
            work,
            f"{whole}, run again in the same folder: not the same work",
            "cpu-s",
            spent,
            again,
            limit=limit,
        ),
    )


def prepare(root: Path) -> None:
    """The encoder, the rows, the project and the peer's script."""
    texts = [f"{('a good', 'a bad')[row % 2]} film of number {row}" for row in range(ROWS)]
    lines = [json.dumps({"text": text, "label": row % 2}) for row, text in enumerate(texts)]
    (root / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "peer.py").write_text(PEER, encoding="utf-8")
    (root / "project.yaml").write_text(
        "name: five\nbackbone: {source: backbone, max_tokens: 16}\n"
        "tasks: {mood: {kind: classification, files: {train: rows.jsonl}, "
        "split: {validation: 0.15, test: 0.15}}}\n"
        "training: {epochs: 1, batch_size: 8, trainable: all, precision: float32}\n"
        "evaluation: {baselines: [], bootstrap: 100}\n",
        encoding="utf-8",
    )
    subprocess.run([sys.executable, "-c", ENCODER, str(root / "backbone")], check=True, capture_output=True)


#: Writes a random encoder and a word-level tokenizer.
ENCODER = """
import sys
import string
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
letters = string.ascii_lowercase + string.digits
words = [*special, "good", "bad", "film", *letters, *("##" + letter for letter in letters)]
vocabulary = {word: place for place, word in enumerate(words)}
raw = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
raw.normalizer = normalizers.BertNormalizer(lowercase=True)
raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
raw.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special))
PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(sys.argv[1])
sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained(sys.argv[1])
"""


def cost(command: list[str], root: Path, good: Sequence[int] = (0,)) -> float:
    """Seconds of processor time of a command and of all that it waits for; ``good``: the exit codes that it
    may end with."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    environment["PREFECT_HOME"] = str(root / "prefect")
    environment["CUDA_VISIBLE_DEVICES"] = ""  # the peer has it that way
    environment |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "ERROR"}
    environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "300"  # 20 are few on a busy machine
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in good:
        raise SystemExit(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
