"""`doubleroute export`, and `predict` with what it wrote, on a real store with a real tiny model."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import write_tiny_project
from typer.testing import CliRunner, Result

from doubleroute.cli import app
from doubleroute.integrations.registry import Candidate, Registry
from doubleroute.modeling.inference import Answerer

TEXTS = ["a good film", "bad words and numbers 42", "a good film", "plain"]


def write_model(folder: Path, tiny_model: Path, texts: list[str]) -> list[str]:
    """Save a model that int8 ruins, and give its own answers to these texts, half of each label.

    One number of every state is one, with weights so large that the scales of int8 leave nothing of the
    others; a bias takes it away again, so that in float32 it does nothing.
    """
    import torch

    from doubleroute.modeling.backbone import load_tokenizer
    from doubleroute.modeling.model import DoublerouteConfig, assemble, load_model
    from doubleroute.modeling.source import Source

    model = load_model(tiny_model)
    config = model.config.to_dict()
    tasks = {name: config["tasks"][name] for name in ("sentiment", "entities")}
    tasks["entities"]["labels"] = ["O", "B-number"]
    router = {"kind": "experts", "experts": 2, "bottleneck": 4}
    config |= {"tasks": tasks, "task_names": list(tasks), "router": router}
    made = assemble(DoublerouteConfig(**config), model.backbone, seed=1).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, module in made.backbone.encoder.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
                if module.in_features == 16 and "attention.output" not in name:
                    module.weight[:, 0] = 1e4
                    module.bias.copy_(-module.weight[:, 0])
        for name, value in made.backbone.named_parameters():
            if "LayerNorm" in name:
                value[0] = float(name.endswith("bias"))
    made.save_pretrained(folder)
    load_tokenizer(Source("x", tiny_model)).save_pretrained(folder)
    rows = [{"text": text} for text in texts]
    logits = Answerer(folder, threads=1).logits(rows, ["sentiment"])["sentiment"]
    lead = sorted(float(each[1] - each[0]) for each in logits)
    with torch.no_grad():
        made.heads["sentiment"].out.bias[0] += lead[len(lead) // 2]
    made.save_pretrained(folder)
    return [each["sentiment"]["label"] for each in Answerer(folder, threads=1).answer(rows)]


@pytest.fixture(scope="module")
def registered(tiny_backbone: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose champion gets every row of its data right. Copy it before writing into it."""
    root = write_tiny_project(tmp_path_factory.mktemp("export") / "project", tiny_backbone)
    draw = random.Random(8)
    words = [
        "the",
        "model",
        "reads",
        "this",
        "short",
        "line",
        "of",
        "plain",
        "words",
        "and",
        "numbers",
        "like",
        "42",
        "a",
        "good",
        "bad",
        "film",
    ]
    texts = sorted({" ".join(draw.sample(words, 6)) for _ in range(200)})
    model = root.parent / "model"
    labels = write_model(model, tiny_model, texts)
    assert {"neg", "pos"} == set(labels)
    lines = [f"{text},{label},mail\n" for text, label in zip(texts, labels, strict=True)]
    (root / "data" / "sentiment.csv").write_text("text,label,source\n" + "".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        registry = Registry(root, "tiny")
        examples = [{"text": "a good film"}]
        registry.register(Candidate("one", model, examples, Answerer(model, threads=1).answer(examples)))
        registry._connect().set_registered_model_alias("tiny", "champion", "1")
    return root


@pytest.fixture(scope="module")
def project(registered: Path) -> Path:
    """The project after its first `doubleroute export`."""
    result = call(registered, "export")
    assert result.exit_code == 0, result.stderr
    assert "float32: accepted, new" in result.stdout
    assert "sentiment: accuracy 1.0000, the graph 1.0000; 40 of 40 answers the same" in result.stdout
    assert "int8: refused" in result.stdout
    return registered


def call(project: Path, command: str, *arguments: str, stdin: str | None = None) -> Result:
    words = [command, "--project", str(project), *arguments]
    return CliRunner().invoke(app, words, input=stdin)


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def predicted(project: Path, *arguments: str) -> Any:
    """The document of `predict --json` on some texts."""
    return document(
        call(project, "predict", "--input", "-", "--json", *arguments, stdin="\n".join(TEXTS) + "\n")
    )


def near(one: Any, other: Any) -> bool:
    """Equal JSON, numbers to 1e-4."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(near(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other))
    return bool(one == pytest.approx(other, abs=1e-4)) if isinstance(one, float) else bool(one == other)


def test_export_again_reuses_the_stage(project: Path) -> None:
    int8, float32 = document(call(project, "export", "--json"))["exports"]
    assert (float32["precision"], float32["reused"], float32["refused"]) == ("float32", True, [])
    assert (int8["precision"], int8["folder"]) == ("int8", None)


def test_an_export_holds_graph_config_tokenizer_digests_and_figures(project: Path, tmp_path: Path) -> None:
    result = call(project, "export", "--precision", "float32", "--output", str(tmp_path / "out"))
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "out" / "float32"
    about = json.loads((folder / "export.json").read_text())
    assert {path.name for path in folder.iterdir()} == {*about["files"], "export.json"}
    assert {"model.onnx", "config.json", "tokenizer.json"} <= set(about["files"])
    assert about["acceptance"]["sentiment"]["rows"] == 40
    again = call(project, "export", "--precision", "float32", "--output", str(tmp_path / "out"))
    assert again.exit_code == 2
    assert "is there already" in again.stderr


FULL = """\
import resource, sys
from pathlib import Path
from doubleroute.cli.exporting import _copy

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
_copy(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_copy_that_the_disk_does_not_take_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "model.onnx").write_bytes(b"x" * 5000)
    target = tmp_path / "out" / "int8"
    command = [sys.executable, "-c", FULL, str(tmp_path / "made"), str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith(f"MachineError: cannot write {target}: File too large")
    assert not list(target.parent.iterdir())


@pytest.mark.costly
def test_what_is_asked_for_by_name_and_loses_too_much_is_exit_code_3_and_leaves_nothing(
    project: Path,
) -> None:
    before = sorted((project / ".doubleroute" / "stages").iterdir())
    result = call(project, "export", "--precision", "int8")
    assert result.exit_code == 3
    assert "refused: sentiment: accuracy 1.0000 becomes 0." in result.stdout
    assert "serving.margin allows 0.005" in result.stdout
    assert "`predict --model-version 1 --precision auto` answers with the float32 graph" in result.stderr
    assert sorted((project / ".doubleroute" / "stages").iterdir()) == before
    named = call(project, "export", "--set", "serving.precision=int8")
    assert named.exit_code == 3


def test_the_installed_command_predicts_the_same_with_the_graph(project: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    command = [str(Path(sys.executable).with_name("doubleroute")), "predict", "--project", str(project)]
    found = []
    for precision in ("float32", "torch"):
        arguments = [
            "--input",
            str(tmp_path / "in.txt"),
            "--precision",
            precision,
            "--threads",
            "1",
            "--json",
        ]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found.append(json.loads(done.stdout))
    graph, torch = found
    assert [each.pop("precision") for each in found] == ["float32", "torch"]
    assert len(graph["answers"]) == 4
    assert near(graph, torch)


def test_answers_in_dev_stdout_end_without_a_line_for_people(project: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    command = [str(Path(sys.executable).with_name("doubleroute")), "predict", "--project", str(project)]
    words = ["--input", str(tmp_path / "in.txt"), "--output", "/dev/stdout"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=200)
    assert [json.loads(line)["row"] for line in done.stdout.splitlines()] == [1, 2, 3, 4]
    assert done.stderr == "4 answers in /dev/stdout\n"


@pytest.mark.parametrize("command", ["predict --text good", "history", "status", "doctor"])
def test_what_only_reads_does_not_wait_for_the_libraries_of_training(project: Path, command: str) -> None:
    installed = str(Path(sys.executable).with_name("doubleroute"))
    name, *rest = command.split()
    words = [sys.executable, "-X", "importtime", installed, name, "--project", str(project), *rest]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert done.returncode in ((0, 4) if name == "doctor" else (0,)), done.stderr[-3000:]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert ("onnxruntime" in imported) == (name == "predict")
    assert not imported & {"torch", "transformers", "mlflow", "prefect", "pandas", "scipy"}


def test_by_default_predict_takes_what_was_accepted(project: Path) -> None:
    found, wanted = predicted(project), predicted(project, "--precision", "torch")
    assert (found.pop("precision"), wanted.pop("precision")) == ("float32", "torch")
    assert near(found, wanted)


def test_a_graph_that_was_not_exported_is_bad_input(project: Path) -> None:
    result = call(project, "predict", "--text", "good", "--precision", "int8")
    assert result.exit_code == 2
    assert "version 1 has no exported int8 graph" in result.stderr
    assert "`doubleroute export --precision int8 --model-version 1` makes it" in result.stderr


@pytest.mark.costly
def test_the_margin_of_today_decides_about_the_figures_of_yesterday(project: Path, tmp_path: Path) -> None:
    root = shutil.copytree(project, tmp_path / "project")
    wide = call(root, "export", "--precision", "int8", "--set", "serving.margin=1")
    assert wide.exit_code == 0, wide.stderr
    result = call(root, "predict", "--text", "good", "--precision", "int8")
    assert result.exit_code == 3
    assert "the exported int8 graph is refused: sentiment: accuracy" in result.stderr
    assert predicted(root)["precision"] == "float32"
    with (root / "project.yaml").open("a") as file:
        file.write("serving: {margin: 1}\n")
    assert predicted(root)["precision"] == "int8"


@pytest.mark.costly
def test_a_graph_that_new_rows_refuse_no_longer_answers(project: Path, tmp_path: Path) -> None:
    root = shutil.copytree(project, tmp_path / "project")
    data = root / "data" / "sentiment.csv"
    now = data.read_text()
    data.write_text(now.replace(",neg,", ",x,").replace(",pos,", ",neg,").replace(",x,", ",pos,"))
    before = call(root, "export", "--precision", "int8")
    assert "int8: accepted, new" in before.stdout, "it gets more of the rows that the model gets wrong"
    assert predicted(root)["precision"] == "int8"
    data.write_text(now)
    assert call(root, "export", "--precision", "int8").exit_code == 3
    assert predicted(root)["precision"] == "float32"


def test_a_damaged_graph_is_never_used_and_made_again(project: Path, tmp_path: Path) -> None:
    root = shutil.copytree(project, tmp_path / "project")
    (graph,) = (root / ".doubleroute" / "stages").glob("export-*/model.onnx")
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    named = call(root, "predict", "--text", "good", "--precision", "float32")
    assert named.exit_code == 2
    assert "model.onnx is damaged: its sha256" in named.stderr
    assert predicted(root)["precision"] == "torch"
    again = call(root, "export", "--precision", "float32")
    assert "float32: accepted, new" in again.stdout
    assert predicted(root)["precision"] == "float32"


def test_a_model_whose_task_has_no_labelled_rows_is_not_exported(project: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label,source\na good film,pos,mail\n")
    result = call(project, "export", "--input", str(rows))
    assert result.exit_code == 2
    assert "task 'entities' of the model (tagging) has no labelled rows" in result.stderr
