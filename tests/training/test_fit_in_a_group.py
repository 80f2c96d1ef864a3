"""Fits by several processes of one group, as accelerate starts them; here two on the CPU, with gloo."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import write_tiny_project
from test_fit import Run, weights

from doubleroute.training.budget import Budget
from doubleroute.training.crew import Order
from doubleroute.training.fit import Learner
from doubleroute.training.plan import Plan, Rung
from doubleroute.training.variants import variant
from doubleroute.workspace import Stage

pytestmark = pytest.mark.slow


def fit_in_a_group(run: Run) -> Stage:
    """The routed model, fitted by two processes."""
    order = Order(run.project, run.validated, run.encoded, run.stored, "float32")
    path = order.write(run.workspace, threads=1)
    words = "-m torch.distributed.run --standalone --nproc_per_node=2 -m"
    group = subprocess.run(
        [sys.executable, *words.split(), "doubleroute.training.worker", str(path)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert group.returncode == 0, group.stdout + group.stderr
    stage = run.workspace.find("fit", order.inputs())
    assert stage is not None, group.stdout + group.stderr
    return stage


def test_a_group_of_two_learns_as_one_process_does_and_ends_when_the_stage_is_there(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    run = Run(write_tiny_project(tmp_path / "project", tiny_backbone))
    stage = fit_in_a_group(run)
    history = json.loads((stage.path / "history.json").read_text(encoding="utf-8"))
    alone = run.fit(tmp_path / "alone")
    assert history["total_steps"] == alone["total_steps"]
    together, by_itself = weights(stage.path), weights(tmp_path / "alone")
    begun = run.learner().model.state_dict()
    moved = torch.cat([(together[name] - begun[name]).flatten() for name in together])
    expected = torch.cat([(by_itself[name] - begun[name]).flatten() for name in together])
    assert torch.cosine_similarity(moved, expected, dim=0) > 0.9
    assert history["epochs"][-1]["validation"] == alone["epochs"][-1]["validation"]
    assert fit_in_a_group(run).digest == stage.digest  # and no process waits for the other


def test_a_group_of_two_learns_the_weights_of_tasks_that_one_process_learns(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    rate = "training.head_learning_rate=1e-2"
    run = Run(
        write_tiny_project(tmp_path / "project", tiny_backbone), "training.task_weights=uncertainty", rate
    )
    stage = fit_in_a_group(run)
    history = json.loads((stage.path / "history.json").read_text(encoding="utf-8"))
    alone = run.fit(tmp_path / "alone")["task_weights"]
    assert all(value != 1 for value in alone.values())
    assert history["task_weights"] == pytest.approx(alone, rel=0.02)


def steps_in_the_budget(root: Path, rank: int, port: int) -> int:
    """How many steps this process of a group of two goes on for; each step took it as many seconds as it has
    processes before it and one more."""
    from accelerate import Accelerator

    about = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ |= {name: str(value) for name, value in about.items()}
    run, group = Run(root, "training.epochs=1000"), Accelerator(cpu=True)
    stages = (run.validated, run.encoded, None)
    plan = Plan(rung=Rung("whole", seconds=100.0))
    learner = Learner(run.project, variant(run.project, "routed"), *stages, "float32", group, plan)
    learner.step, learner.budget = 10, Budget(learner.plan.rung.seconds, 0, group=True)
    learner.budget.begun = time.monotonic() - 10 * (rank + 1)
    learner._keep_to_budget()
    group.end_training()
    return learner.total


def test_all_processes_of_a_group_take_as_many_steps_as_the_first_has_time_for(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    Run(root)  # the stages are there for both
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        first, second = pool.map(steps_in_the_budget, [root] * 2, range(2), [port] * 2, timeout=200)
    assert first == second
    assert 80 < first <= 90
