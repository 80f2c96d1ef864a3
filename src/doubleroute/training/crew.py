"""Fits side by side, each in a process of its own: two processes of one thread do more than one of two."""

import json
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from doubleroute import errors, forks
from doubleroute.config import Project, Promotion
from doubleroute.digests import digest_of
from doubleroute.errors import DoublerouteError, MachineError
from doubleroute.linear import cores
from doubleroute.processes import FOR_MODELS, Child, start
from doubleroute.training.machine import gpus
from doubleroute.training.plan import FROM_NOTHING, Plan, fit_inputs
from doubleroute.training.variants import Name, variant
from doubleroute.workspace import Stage, Workspace, write_json

#: Told for each model: its name and a point of its history with the total number of steps.
Progress = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Order:
    """One fit: the stages that it reads, the number format, the plan, and which of the project's models it
    makes."""

    project: Project
    validated: Stage
    encoded: Stage
    stored: Stage | None
    precision: str
    plan: Plan = FROM_NOTHING
    name: Name = "routed"

    def inputs(self) -> dict[str, Any]:
        """All that the fit depends on, for its digest."""
        stages = (self.encoded, self.stored)
        made = variant(self.project, self.name, rung=self.plan.on)
        return fit_inputs(self.project, made, *stages, self.precision, self.plan)

    @property
    def _project(self) -> Project:
        """What a fit reads of the project. Promotion, and the choices of rows and of the ladder, which are
        made before, may ask for a router, a task or a start that this model does without; the labels are
        those of the rows, which another version's class weights need not fit."""
        chosen = self.project.retraining.model_copy(update={"rows": "all", "mode": None, "max_falls": {}})
        tasks = {
            name: task.model_copy(update={"labels": None}) if isinstance(task.class_weights, dict) else task
            for name, task in self.project.tasks.items()
        }
        return self.project.model_copy(
            update={"promotion": Promotion(), "retraining": chosen, "tasks": tasks}
        )

    def write(self, workspace: Workspace, threads: int) -> Path:
        """Write the order for one worker; give the file."""
        place = workspace.partial("fit", self.inputs()) / "order.json"
        stages = {"validated": self.validated, "encoded": self.encoded, "stored": self.stored}
        write_json(
            place,
            {
                "project": self._project.model_dump_json(),
                "root": str(self.project.root),
                "variant": self.name,
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


def fit_orders(
    orders: Mapping[str, Order],
    workspace: Workspace,
    progress: Progress,
    done: Callable[[str, Stage], None] = lambda *_: None,
) -> dict[str, Stage]:
    """The stages of these fits by name; those that are not there yet are fitted side by side.

    ``done`` is told of each, first those that were there. Orders that ask for the same are fitted once.
    """
    inputs = {name: order.inputs() for name, order in orders.items()}
    found: dict[str, Stage] = {}
    missing: dict[str, str] = {}
    for name, each in inputs.items():
        stage = workspace.find("fit", each)
        if stage is not None:
            found[name] = stage
            # A kill between the last two steps left it, or another command is removing it.
            shutil.rmtree(workspace.partial("fit", each), ignore_errors=True)
            done(name, stage)
        else:  # without a router the routed model is the plain one: fit it once
            missing.setdefault(digest_of(each), name)

    def finished(first: str) -> None:
        for name, each in inputs.items():
            if missing.get(digest_of(each)) == first:
                found[name] = _made(workspace, each)
                done(name, found[name])

    if missing:
        planned = len({digest_of(each) for each in inputs.values()})
        fit_all({name: orders[name] for name in missing.values()}, workspace, planned, progress, finished)
    return {name: found[name] for name in orders}


def _made(workspace: Workspace, inputs: Mapping[str, Any]) -> Stage:
    stage = workspace.find("fit", inputs)
    if stage is None:
        raise MachineError("code or libraries changed while the models were fitted; run again")
    return replace(stage, reused=False)


def fit_all(
    orders: Mapping[str, Order],
    workspace: Workspace,
    planned: int,
    progress: Progress,
    finished: Callable[[str], None] = lambda _: None,
) -> None:
    """Fit these models, as many at once as there are processors (one at a time on GPUs).

    ``planned`` is how many the whole run has, those that are there included. It sets the threads of each
    fit: another number of threads sums in another order, and a run that was killed and started again has
    fewer to fit but ends with the same weights. ``finished`` is told of each that is whole.
    When one fails the others are stopped and its error is raised; no process is left behind, also not
    by an interrupt.
    """
    forks.keep()
    at_once = 1 if gpus() else min(planned, cores())
    threads = max(1, cores() // max(1, at_once))
    waiting, running = list(orders), dict[str, Child]()
    messages: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                name = waiting.pop(0)
                running[name] = _start(orders[name].write(workspace, threads), name, messages)
            name, message = messages.get()
            if "progress" in message:
                progress(name, message["progress"])
            elif "error" in message:
                raise _error(message["error"])
            else:
                code = running.pop(name).wait()
                if code:
                    raise MachineError(_death(name, code))
                finished(name)
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def _start(order: Path, name: str, messages: "queue.Queue[tuple[str, dict[str, Any]]]") -> Child:
    """Start a worker and a thread that passes on what it says; an empty message is its end."""
    command = ["doubleroute.training.worker"]
    if gpus() > 1:
        group = ["--multi_gpu", "--num_processes", str(gpus()), "-m"]
        command = ["accelerate.commands.launch", *group, *command]
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
    process = start(*command, str(order), **streams, libraries=FOR_MODELS)

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
