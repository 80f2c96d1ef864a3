"""Fits side by side, each in a process of its own: two processes of one thread do more than one of two."""

import json
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from doubleroute import errors
from doubleroute.config import Project
from doubleroute.errors import DoublerouteError, MachineError
from doubleroute.processes import start
from doubleroute.training.activations import activations
from doubleroute.training.encode import read_meta
from doubleroute.training.machine import cores, gpus, resolve_precision
from doubleroute.training.plan import FROM_NOTHING, Plan, fit_inputs
from doubleroute.training.start import refuse_another
from doubleroute.training.variants import Name, variants
from doubleroute.workspace import Stage, Workspace, digest_of, write_json

#: Told for each model: its name and a point of its history with the total number of steps.
Progress = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Order:
    """What every fit of a run shares: the stages that it reads, the number format, and the plan."""

    project: Project
    validated: Stage
    encoded: Stage
    stored: Stage | None
    precision: str
    plan: Plan = FROM_NOTHING

    def write(self, workspace: Workspace, name: Name, threads: int) -> Path:
        """Write the order for one worker; give the file."""
        variant = variants(self.project)[name]
        given = (self.project, variant, self.validated, self.encoded, self.stored, self.precision)
        place = workspace.partial("fit", fit_inputs(*given, self.plan)) / "order.json"
        stages = {"validated": self.validated, "encoded": self.encoded, "stored": self.stored}
        write_json(
            place,
            {
                "project": self.project.model_dump_json(),
                "root": str(self.project.root),
                "variant": name,
                "threads": threads,
                "precision": self.precision,
                "plan": self.plan.as_dict(),
                "stages": {
                    key: stage and {"name": stage.name, "digest": stage.digest, "path": str(stage.path)}
                    for key, stage in stages.items()
                },
            },
        )
        return place


def store(
    project: Project,
    workspace: Workspace,
    encoded: Stage,
    progress: Progress,
    plan: Plan = FROM_NOTHING,
    names: Sequence[Name] | None = None,
) -> Stage | None:
    """The stored outputs of every trunk that the run's models share; None when all layers learn.

    ``names``: the models; all that the project wants by default. Raises ConfigError when the plan's start
    has another backbone or router.
    """
    _check(project, encoded, plan)
    depths = {depth for each in variants(project, names).values() for depth in each.stored}
    if not depths:
        return None

    def tell(done: int, total: int) -> None:
        progress("activations", {"step": done, "total": total, "unit": "tokens"})

    precision = resolve_precision(project.training.precision)
    return activations(project, workspace, encoded, sorted(depths), precision, tell, plan.start)


def _check(project: Project, encoded: Stage, plan: Plan) -> None:
    if plan.start is not None:
        refuse_another(project, read_meta(encoded.path)["backbone"], plan.start)


def fit(
    project: Project,
    workspace: Workspace,
    validated: Stage,
    encoded: Stage,
    stored: Stage | None,
    progress: Progress,
    plan: Plan = FROM_NOTHING,
    names: Sequence[Name] | None = None,
) -> dict[Name, Stage]:
    """The project's model and its baselines, or those of ``names``; those that are not there yet are fitted
    side by side, as the plan says. ``stored`` is what ``store`` gave for the same plan.

    Raises ConfigError when the plan's start has another backbone or router.
    """
    _check(project, encoded, plan)
    precision = resolve_precision(project.training.precision)
    wanted = variants(project, names)
    given = (validated, encoded, stored, precision)
    found: dict[Name, Stage] = {}
    missing: dict[str, Name] = {}
    distinct = set()
    for name, each in wanted.items():
        inputs = fit_inputs(project, each, *given, plan)
        distinct.add(digest_of(inputs))
        stage = workspace.find("fit", inputs)
        if stage is not None:
            found[name] = stage
            shutil.rmtree(workspace.partial("fit", inputs))  # a kill between the last two steps left it
        else:  # without a router the routed model is the plain one: fit it once
            missing.setdefault(digest_of(inputs), name)
    if missing:
        order = Order(project, *given, plan)
        fit_all(order, workspace, list(missing.values()), len(distinct), progress)
    for name, each in wanted.items():
        if name not in found:
            stage = workspace.find("fit", fit_inputs(project, each, *given, plan))
            if stage is None:
                raise MachineError("code or libraries changed while the models were fitted; run again")
            found[name] = replace(stage, reused=False)
    return {name: found[name] for name in wanted}


def fit_all(order: Order, workspace: Workspace, names: list[Name], planned: int, progress: Progress) -> None:
    """Fit these models, as many at once as there are processors (one at a time on GPUs).

    ``planned`` is how many the whole run has, those that are there included. It sets the threads of each
    fit: another number of threads sums in another order, and a run that was killed and started again has
    fewer to fit but ends with the same weights.
    When one fails the others are stopped and its error is raised; no process is left behind, also not
    by an interrupt.
    """
    at_once = 1 if gpus() else min(planned, cores())
    threads = max(1, cores() // max(1, at_once))
    waiting, running = list(names), dict[Name, subprocess.Popen[str]]()
    messages: queue.Queue[tuple[Name, dict[str, Any]]] = queue.Queue()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                name = waiting.pop(0)
                running[name] = _start(order.write(workspace, name, threads), name, messages)
            name, message = messages.get()
            if "progress" in message:
                progress(name, message["progress"])
            elif "error" in message:
                raise _error(message["error"])
            else:
                code = running.pop(name).wait()
                if code:
                    raise MachineError(_death(name, code))
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def _start(
    order: Path, name: Name, messages: "queue.Queue[tuple[Name, dict[str, Any]]]"
) -> "subprocess.Popen[str]":
    """Start a worker and a thread that passes on what it says; an empty message is its end."""
    command = ["doubleroute.training.worker"]
    if gpus() > 1:
        group = ["--multi_gpu", "--num_processes", str(gpus()), "-m"]
        command = ["accelerate.commands.launch", *group, *command]
    process = start(*command, str(order), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def listen() -> None:
        assert process.stdout is not None
        try:
            with process.stdout:
                for line in process.stdout:
                    if line.startswith("{"):
                        messages.put((name, json.loads(line)))
                    else:  # a library that prints
                        sys.stderr.write(line)
        finally:
            messages.put((name, {}))

    threading.Thread(target=listen, daemon=True).start()
    return process


def _error(value: Mapping[str, str]) -> DoublerouteError:
    found: type[DoublerouteError] = getattr(errors, value["kind"])
    return found(value["message"])


def _death(name: str, code: int) -> str:
    reason = (
        "the system ended it, perhaps for want of memory" if code in (-9, 137) else "its error stands above"
    )
    return f"the process that fits the {name} model ended with code {code} ({reason}); run again to go on"
