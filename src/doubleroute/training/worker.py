"""One fit in a process of its own: ``python -m doubleroute.training.worker ORDER``.

The order is a JSON file. Writes JSON lines on stdout: ``{"progress": {...}}`` now and then, and
``{"error": {...}}`` when it fails. Under ``accelerate launch`` every process of the
group runs this; the first one owns the stage and writes.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from safetensors import SafetensorError

from doubleroute.config import Project
from doubleroute.environment import collect_rarely, set_defaults
from doubleroute.errors import DoublerouteError, MachineError
from doubleroute.forks import end_with_parent
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    from accelerate import Accelerator


def main() -> None:
    """Run the order."""
    end_with_parent()
    set_defaults()
    collect_rarely()
    if "WORLD_SIZE" in os.environ:  # accelerate ends the rest of a group with SIGTERM
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        _run(order)
    except DoublerouteError as error:
        _fail(error)
    except (OSError, SafetensorError) as error:  # the second: also of a full disk
        _fail(MachineError(f"a fit could not go on: {error}"))
    except (MemoryError, RuntimeError) as error:  # PyTorch's lack of memory is the second
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        _fail(MachineError(f"a fit ran out of memory; take a smaller batch_size or max_tokens ({error!r})"))


def _run(order: dict[str, Any]) -> None:
    import torch

    from doubleroute.training.fit import Learner, said_by_the_first
    from doubleroute.training.heads_fit import HeadsFit
    from doubleroute.training.plan import Plan, fit_inputs
    from doubleroute.training.variants import variant

    torch.set_num_threads(order["threads"])
    project = Project.model_validate_json(order["project"]).at(Path(order["root"]))
    workspace = Workspace(project.root)
    stages: dict[str, Any] = {
        name: value and Stage(value["name"], value["digest"], Path(value["path"]), True)
        for name, value in order["stages"].items()
    }
    plan = Plan.from_dict(order["plan"])
    chosen = variant(project, order["variant"], rung=plan.on)
    read = (stages["encoded"], stages["stored"], order["precision"])
    inputs = fit_inputs(project, chosen, *read, plan)
    partial = workspace.partial("fit", inputs)
    parallel = _group()
    if plan.on == "heads" and parallel is not None:  # one process solves them
        if not parallel.is_main_process:
            return
        parallel = None

    def make(folder: Path) -> None:
        if parallel is not None and parallel.is_main_process:
            said_by_the_first(True)
        if plan.on == "heads":
            rows = (stages["validated"], stages["encoded"])
            heads = HeadsFit(project, workspace, chosen, *rows, order["precision"], plan)
            heads.run(folder, lambda point: _say({"progress": point}))
            return
        learner = Learner(project, chosen, stages["validated"], *read, parallel, plan)
        learner.run(folder, partial, lambda point: _say({"progress": point}))

    if parallel is not None and not parallel.is_main_process:
        if said_by_the_first(False):
            make(partial)
        return
    stage = workspace.build("fit", inputs, make)
    if parallel is not None and stage.reused:  # another run built it meanwhile
        said_by_the_first(False)
    shutil.rmtree(partial, ignore_errors=True)


def _group() -> "Accelerator | None":
    """The group of processes that accelerate started, if it did."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from accelerate import Accelerator

    return Accelerator()


def _fail(error: DoublerouteError) -> NoReturn:
    if int(os.environ.get("RANK", "0")):  # the parent hears the first one of a group alone
        print(error, file=sys.stderr)
    _say({"error": {"kind": type(error).__name__, "message": str(error)}})
    sys.exit(error.exit_code)


def _say(message: dict[str, Any]) -> None:
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
