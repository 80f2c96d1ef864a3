"""What `doubleroute status` shows: the registry, the data version, the last stages, the workspace's size."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from doubleroute.config import Project
from doubleroute.errors import DoublerouteError
from doubleroute.integrations import versions
from doubleroute.integrations.data_files import is_there
from doubleroute.integrations.registry import Registry
from doubleroute.workspace import MANIFEST, Workspace


def describe(project: Project) -> dict[str, Any]:
    """Plain JSON: project, registry, data, stages, workspace. Fetches nothing; notes the md5 of data files
    that it has read."""
    return {
        "project": project.name,
        "tasks": {name: task.kind for name, task in project.tasks.items()},
        "registry": Registry(project.root, project.model_name).describe(),
        "data": _data(project),
        "stages": _stages(project.root),
        "workspace": {**_size(Workspace(project.root).root), "max_gb": project.workspace.max_gb},
    }


def lines(status: dict[str, Any]) -> list[str]:
    """The same for people."""
    registry, data, size = status["registry"], status["data"], status["workspace"]
    tasks = ", ".join(f"{name} ({kind})" for name, kind in status["tasks"].items())
    champion = registry["champion"]
    said = [
        f"project    {status['project']}: {tasks}",
        f"model      {registry['model']} in {registry['tracking_uri']}",
        f"champion   {_version(champion) if champion else 'none yet: `doubleroute train` makes one'}",
    ]
    challenger = registry["challenger"]
    if challenger:
        said.append(f"challenger {_version(challenger)}")
        said += [f"{'':<10} {reason}" for reason in challenger["reasons"]]
    said.append(f"versions   {len(registry['versions'])}")
    if "problem" in data:
        said.append(f"data       {data['problem']}")
    else:
        version = data["dvc_md5"] or f"no data.dvc, digest {data['digest'][:12]}"
        dirty = ", with changes that are not committed" if data["git_dirty"] else ""
        said.append(f"data       {version} at commit {(data['git_commit'] or 'none')[:12]}{dirty}")
    said += [
        f"stage      {stage['name']:<12} {stage['used']}  {stage['digest']}" for stage in status["stages"]
    ]
    said.append(
        f"workspace  {size['stages']} stages, {size['bytes'] / 1e9:.2f} GB in {size['folder']} (stages: "
        f"{size['max_gb']:g} GB at most)"
    )
    return said


def _version(version: dict[str, Any]) -> str:
    verdict = f" (decision: {version['verdict']})" if version["verdict"] else ""
    return f"version {version['version']}{verdict}"


def _data(project: Project) -> dict[str, Any]:
    try:
        pointer = versions.read_pointer(project.root)
        if pointer is not None and not is_there(project.root):
            return {"problem": f"data/ is missing; `dvc pull` fetches {pointer}"}
        return versions.pull(project.root, project.all_paths).as_dict()
    except DoublerouteError as error:
        return {"problem": str(error)}


def _stages(root: Path) -> list[dict[str, Any]]:
    """The stage of each name that was made or used last, oldest first."""
    stages, found = Workspace(root).stages, list[tuple[float, Path]]()
    for folder in stages.iterdir() if stages.is_dir() else ():
        with suppress(FileNotFoundError):  # a training at work removed it meanwhile
            if (folder / MANIFEST).is_file():
                found.append((folder.stat().st_mtime, folder))
    newest: dict[str, dict[str, Any]] = {}
    for used, folder in sorted(found):
        name, _, digest = folder.name.rpartition("-")
        when = datetime.fromtimestamp(used, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        newest.pop(name, None)
        newest[name] = {"name": name, "digest": digest, "used": when, "path": str(folder)}
    return list(newest.values())


def _size(folder: Path) -> dict[str, Any]:
    """Stages and bytes of all files, without what a training at work removes meanwhile."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(place, name).stat().st_size
    stages = folder / "stages"
    count = sum((path / MANIFEST).is_file() for path in stages.iterdir()) if stages.is_dir() else 0
    return {"folder": str(folder), "stages": count, "bytes": size}
