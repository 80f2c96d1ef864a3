"""A machine that watches and retrains by itself: a Prefect server on sqlite, and both flows served."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from prefect import serve as serve_deployments
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger

from doubleroute.config import Project
from doubleroute.errors import GateError, InputError
from doubleroute.flows.retrain import retrain
from doubleroute.flows.server import check_server, local_server
from doubleroute.flows.watch import RETRAIN, label, watch
from doubleroute.workspace import Workspace


def serve(project: Project, cron: str, every: float | None, say: Callable[[str], None]) -> None:
    """Look on the schedule, and retrain when a look decides so, until stopped.

    Uses the server of PREFECT_API_URL, or starts one on loopback whose database is in the workspace.
    ``cron`` is in UTC; ``every``, in seconds, goes before it. Raises InputError for a ``cron`` that is none,
    MachineError when no server answers.
    """
    try:
        CronSchedule(cron=cron)
    except ValueError as error:
        raise InputError(f"--cron '{cron}' is no schedule; write it as '0 2 * * 1', Mondays at 2") from error
    with _server(Workspace(project.root)) as url:
        say(f"Prefect: {url.removesuffix('/api')}")
        looks = f"every {every:g} s" if every else f"at '{cron}' UTC"
        say(f"looks {looks}, retrains when the policy of project.yaml says so; Ctrl-C ends it")
        served = deployments(project, cron, every)
        # A stop leaves a coroutine of Prefect's runner behind, which Python would warn of.
        warnings.filterwarnings("ignore", "coroutine 'Runner.astop' was never awaited")
        serve_deployments(*served, pause_on_shutdown=False, limit=2, print_starting_message=False)


def deployments(project: Project, cron: str, every: float | None) -> list[RunnerDeployment]:
    """The nightly look, and the retraining that its event starts; one of each at a time, and one that comes
    meanwhile is left out."""
    when: dict[str, Any] = {"interval": timedelta(seconds=every)} if every else {"cron": cron}
    parameters = {"project": str(project.root)}
    trigger = DeploymentEventTrigger(
        name=f"{label(project)}: a decision to retrain",
        expect={RETRAIN},
        match={"prefect.resource.id": f"doubleroute.project.{label(project)}"},
        parameters={**parameters, "decision": "{{ event.payload.decision }}"},
    )
    # As prefect.yaml has it: Prefect's default lets looks that take longer than ``every`` queue up.
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    watching = watch.to_deployment(
        f"{label(project)}-nightly", parameters=parameters, concurrency_limit=one, **when
    )
    training = retrain.to_deployment(
        f"{label(project)}-on-drift", parameters=parameters, concurrency_limit=one, triggers=[trigger]
    )
    return [watching, training]


def _free(url: str) -> None:
    """Give back the places of runs that a kill cut short together with their server, on which nothing else
    runs yet: as long as they are taken, every later look or retraining would be cancelled."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        for limit in client.read_global_concurrency_limits(limit=200):
            if limit.active_slots:
                client.update_global_concurrency_limit(
                    limit.name, GlobalConcurrencyLimitUpdate(active_slots=0)
                )


@contextmanager
def _server(workspace: Workspace) -> Iterator[str]:
    """The URL of a server that schedules and hears events."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    named = PREFECT_API_URL.value()
    if named:
        check_server(named)
        yield named
        return

    def busy() -> None:
        raise GateError(f"this project is scheduled already: {workspace.holder('schedule')}")

    with workspace.lock("schedule", busy), local_server(workspace.root / "prefect-schedule", {}) as url:
        _free(url)
        os.environ["PREFECT_API_URL"] = url  # each run is a process of its own, which reads it there
        try:
            with temporary_settings({PREFECT_API_URL: url}):
                yield url
        finally:
            del os.environ["PREFECT_API_URL"]
