"""A trained model as an MLflow pyfunc folder: made, its files listed with digests, checked, tried out.

The folder holds the model (``artifacts/model``), the model-from-code file, the doubleroute code that
made it (``code``), and ``manifest.json`` with the sha256 of every file. The code travels with the model,
not as a requirement: a version then serves with the code that gave its golden answers, and serving
installs nothing under the name ``doubleroute`` from a package index. The libraries are pinned to the
versions that are installed.
"""

import json
import math
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.digests import file_digest, file_digests, versions_of
from doubleroute.errors import InputError, MachineError, ModelError
from doubleroute.integrations.registry_store import Store, local_path, quiet
from doubleroute.processes import FOR_MODELS, start_script
from doubleroute.workspace import Workspace, write_json

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

MANIFEST = "manifest.json"
#: Rows and the answers to them that the model must give again wherever it is loaded.
GOLDEN = "golden.json"
#: Where the model's own files are inside the pyfunc folder.
MODEL = "artifacts/model"
#: What answering imports; pinned in the requirements of every version.
REQUIREMENTS = (
    "filelock",
    "huggingface_hub",
    "jaxtyping",
    "mlflow",
    "numpy",
    "pandas",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)
#: How far a number of an answer may lie from its golden value, absolute and relative.
TOLERANCE = 1e-4
#: Seconds that loading a model in a new process may take.
READ_BACK_SECONDS = 600


def package(
    model_folder: Path,
    place: Path,
    examples: Sequence[Mapping[str, Any]],
    golden: Sequence[Mapping[str, Any]],
    run_id: str,
    model_id: str,
) -> str:
    """Write the pyfunc of a saved model to the new folder ``place``; the sha256 of its manifest.

    ``examples``: rows ``{"text", "text_pair"?}``; the first is the input example; ``golden``: the model's
    answers to them. Raises ModelError when ``model_folder`` holds no doubleroute model.
    """
    signature = _signature(_tasks(model_folder))
    with _quiet(), tempfile.TemporaryDirectory(prefix="doubleroute-") as scratch:
        import mlflow.pyfunc
        import pandas
        from mlflow.models import Model

        import doubleroute

        named = model_folder.resolve()
        if named.name != Path(MODEL).name:  # MLflow keeps the artifact's own name, and follows no links
            named = shutil.copytree(named, Path(scratch) / Path(MODEL).name)
        mlflow.pyfunc.save_model(
            path=str(place),
            python_model=str(Path(doubleroute.__file__).parent / "serving" / "model_from_code.py"),
            code_paths=[str(Path(doubleroute.__file__).parent)],
            artifacts={"model": str(named)},
            signature=signature,
            input_example=pandas.DataFrame([dict(row) for row in examples[:1]]),
            pip_requirements=[
                f"{name}=={number.partition('+')[0]}" for name, number in versions_of(*REQUIREMENTS).items()
            ],
            mlflow_model=Model(run_id=run_id, model_id=model_id),
        )
    rows = {"examples": [dict(row) for row in examples], "answers": list(golden)}
    write_json(place / GOLDEN, rows)
    write_json(place / MANIFEST, file_digests(place))
    return file_digest(place / MANIFEST)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MLflow's progress bars and its advice to write type hints, which would override the
    signature."""
    variable = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
    before = os.environ.get(variable)
    os.environ[variable] = "false"
    try:
        with quiet("mlflow.pyfunc"), warnings.catch_warnings(record=True):  # MLflow resets the filter
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def verify(folder: Path, manifest_digest: str, what: str) -> None:
    """Check every file of a pyfunc folder against its manifest. Raises MachineError naming ``what`` and
    the first file that is missing or not the one that was registered."""
    advice = "restore the folder from a backup, or delete the version and register again"
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise MachineError(f"{what}: its files are gone ({manifest} is missing); {advice}")
    if file_digest(manifest) != manifest_digest:
        raise MachineError(f"{what}: {manifest} is not the one that was registered; {advice}")
    for name, digest in json.loads(manifest.read_text(encoding="utf-8")).items():
        path = folder / name
        if not path.is_file():
            raise MachineError(f"{what}: {path} is missing; {advice}")
        if file_digest(path) != digest:
            raise MachineError(f"{what}: {path} is damaged, its sha256 is not the registered one; {advice}")


def fetch(store: Store, source: str, manifest_digest: str, what: str, workspace: Workspace) -> Path:
    """The pyfunc folder of a place in the store, every file checked: the place itself when it is on this
    machine, otherwise a copy in the workspace, downloaded once. Raises MachineError as ``verify`` does."""
    local = local_path(source)
    if local is not None:
        verify(local, manifest_digest, what)
        return local
    from mlflow.artifacts import download_artifacts

    place = workspace.root / "registry" / manifest_digest[:20]
    with workspace.lock(f"registry-{place.name}"):
        if place.is_dir():
            try:
                verify(place, manifest_digest, what)
            except MachineError:
                shutil.rmtree(place)  # a damaged copy; the store may have a whole one
            else:
                os.utime(place)  # copies that nobody uses any more are removed after a training
                return place
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=place.parent) as scratch:
            with _quiet():
                got = download_artifacts(
                    artifact_uri=source, dst_path=scratch, tracking_uri=store.tracking_uri
                )
            verify(Path(got), manifest_digest, what)
            Path(got).rename(place)
    return place


def try_out(folder: Path) -> None:
    """Load the pyfunc in a new process and compare its answers with the golden ones that it holds.

    Text and counts must be equal, numbers within TOLERANCE; of a version without golden answers it is
    enough that it answers. Raises ModelError with the first difference or with what the new process said.
    """
    path = folder / GOLDEN
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"examples": [{"text": "a"}]}
    found = _answers(folder, rows["examples"])
    if "answers" in rows:
        difference = _difference(rows["answers"], found, "answers")
        if difference:
            raise ModelError(f"the registered model answers differently in a new process: {difference}")


def _answers(folder: Path, examples: Sequence[Mapping[str, Any]]) -> Any:
    """What the pyfunc answers to these rows in a new process."""
    script = Path(__file__).with_name("registry_readback.py")
    environment = {
        **os.environ,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PYTHONDONTWRITEBYTECODE": "1",  # nothing is to appear in the artifact store
        "DOUBLEROUTE_REQUEST_LOG": "",  # nobody asked
        "DOUBLEROUTE_EXPORT": "",  # the model itself is read back, not a graph that serves in its place
    }
    with tempfile.TemporaryDirectory(prefix="doubleroute-") as scratch:
        request, answers = Path(scratch) / "request.json", Path(scratch) / "answers.json"
        write_json(request, [dict(row) for row in examples])
        said = Path(scratch) / "said"
        with said.open("wb") as log:
            arguments = (str(folder), str(request), str(answers))
            options = {"env": environment, "libraries": FOR_MODELS}
            child = start_script(
                script, *arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )
        try:
            code = child.wait(READ_BACK_SECONDS)
        except subprocess.TimeoutExpired:
            raise MachineError(
                f"reading the model back in a new process took more than {READ_BACK_SECONDS} s"
            ) from None
        finally:
            child.kill()
        if code:
            lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = (lines or [f"exit code {code}"])[-1]
            raise ModelError(f"the registered model does not answer in a new process: {last}")
        return json.loads(answers.read_text(encoding="utf-8"))


def _difference(wanted: Any, found: Any, where: str) -> str | None:
    """The first place where two JSON values differ by more than TOLERANCE, in words."""
    if isinstance(wanted, float) and isinstance(found, int | float):
        if math.isclose(wanted, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            return None
    elif isinstance(wanted, Mapping) and isinstance(found, Mapping) and set(wanted) == set(found):
        parts = (_difference(wanted[key], found[key], f"{where}.{key}") for key in wanted)
        return next((part for part in parts if part), None)
    elif isinstance(wanted, list | tuple) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        parts = (_difference(left, right, f"{where}[{number}]") for number, (left, right) in pairs)
        return next((part for part in parts if part), None)
    elif wanted == found:
        return None
    return f"{where} is {str(found)[:200]}, not {str(wanted)[:200]}"


def _tasks(model_folder: Path) -> dict[str, dict[str, Any]]:
    """The tasks of a saved model, from its config.json."""
    try:
        config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
        tasks: dict[str, dict[str, Any]] = config["tasks"]
    except (OSError, ValueError, KeyError):
        raise ModelError(f"{model_folder} holds no doubleroute model (config.json with tasks)") from None
    return tasks


def _signature(tasks: Mapping[str, Mapping[str, Any]]) -> "ModelSignature":
    """Texts in, one object for each task out; ``tasks`` chooses some of them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Map, Object, Property

    text, number, whole = DataType.string, DataType.double, DataType.long
    where = [Property("start", whole), Property("end", whole)]
    entity = Object(
        [
            Property("type", text),
            *where,
            Property("confidence", number),
            Property("text", text, required=False),
        ]
    )
    found = [Property("id", text), Property("score", number), Property("rank", number)]
    stored = Object([*found, Property("text", text, required=False)])
    one_label = [Property("label", text), Property("probabilities", Map(number))]
    outputs = {
        "classification": one_label,
        "ordinal": one_label,
        "multilabel": [Property("labels", Array(text)), Property("probabilities", Map(number))],
        "regression": [Property("value", number)],
        "retrieval": [
            Property("label", text),
            Property("score", number),
            Property("answers", Array(stored)),
        ],
        "span": [
            Property("answer", text, required=False),
            *(Property(name, whole, required=False) for name in ("start", "end")),
            Property("confidence", number),
        ],
        "tagging": [
            Property("tags", Array(text)),
            Property("confidences", Array(number)),
            Property("entities", Array(entity)),
        ],
    }
    for name, task in tasks.items():
        if task["kind"] not in outputs:
            raise InputError(f"tasks.{name}: kind '{task['kind']}' cannot be served")
    return ModelSignature(
        inputs=Schema([ColSpec(text, "text"), ColSpec(text, "text_pair", required=False)]),
        outputs=Schema([ColSpec(Object(outputs[task["kind"]]), name) for name, task in tasks.items()]),
        params=ParamSchema([ParamSpec("tasks", text, "")]),
    )
