"""Facts about the repository itself: its dependencies, versions and files agree with each other."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML
from versioned import git

import doubleroute
from doubleroute.config import load_project
from doubleroute.flows.watch import label
from doubleroute.integrations.revisions import fork_point

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

#: Direct dependencies that no file imports, and why they are there.
NOT_IMPORTED = {
    "fastapi": "pinned for Prefect",
    "qpsolvers": "torchjd imports it",
    "quadprog": "torchjd's qpsolvers imports it",
    "sqlalchemy": "held for Prefect",
}
#: Which modules of ours may import a library.
DOORS = {
    "prefect": r"flows\..*",
    "mlflow": r"integrations\.registry(_\w+)?|serving\.model_from_code",
    "dvc": r"integrations\.data_(files|objects)",
    "great_expectations": r"integrations\.expectations",
}


def direct(section: str = "dependencies") -> dict[str, Requirement]:
    project = PYPROJECT["project"]
    lines = (
        project["dependencies"] if section == "dependencies" else project["optional-dependencies"][section]
    )
    return {canonicalize_name(each.name): each for each in map(Requirement, lines)}


def extras() -> dict[str, Requirement]:
    """What users install besides for some options."""
    return {
        name: each
        for extra in PYPROJECT["project"]["optional-dependencies"]
        if extra != "dev"
        for name, each in direct(extra).items()
    }


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def imported(folder: str) -> dict[str, str]:
    """The distributions that the Python files below a folder import, each with one such file."""
    installed = packages_distributions()
    found: dict[str, str] = {}
    files = sorted((ROOT / folder).rglob("*.py"))
    own = [*files, *(ROOT / "benchmarks").glob("*.py")] if folder == "tests" else []
    ours = {"doubleroute", *(file.stem for file in own)}
    for file in files:
        for module in modules(ast.parse(file.read_text(encoding="utf-8"))):
            if module not in sys.stdlib_module_names and module not in ours:
                # Several distributions can share a module, as ruamel.yaml and ruamel.yaml.clib do.
                names = [canonicalize_name(name) for name in installed.get(module, [module])]
                name = next((each for each in names if each in direct()), names[0])
                found.setdefault(name, str(file.relative_to(ROOT)))
    return found


def modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def tracked() -> list[Path]:
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        # In an archive of the sources there is no list of what belongs to them.
        pytest.skip("the files are not in a git repository")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_package_that_the_source_imports_is_a_direct_dependency() -> None:
    known = direct() | extras()
    missing = {name: file for name, file in imported("src").items() if name not in known}
    assert missing == {}


def test_every_direct_dependency_is_imported_by_the_source() -> None:
    assert set(direct() | extras()) - set(imported("src")) - set(NOT_IMPORTED) == set()


def test_the_tests_have_what_the_extras_bring() -> None:
    dev = direct("dev")
    assert {name: str(dev.get(name)) for name in extras()} == {
        name: str(each) for name, each in extras().items()
    }


def test_every_package_that_the_tests_import_is_pinned() -> None:
    assert {name: file for name, file in imported("tests").items() if name not in pins()} == {}


def test_constraints_pin_every_direct_dependency_to_a_version_that_it_allows() -> None:
    needed = direct() | direct("dev")
    wrong = {
        name: pins().get(name)
        for name, requirement in needed.items()
        if name not in pins() or not requirement.specifier.contains(pins()[name], prereleases=True)
    }
    assert wrong == {}


def test_constraints_pin_whatever_the_direct_dependencies_need_here() -> None:
    unpinned: dict[str, str] = {}
    waiting = [
        (name, extra) for name, each in (direct() | direct("dev")).items() for extra in ["", *each.extras]
    ]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                below = canonicalize_name(requirement.name)
                if below not in pins():
                    unpinned[below] = name
                waiting += [(below, each) for each in ["", *sorted(requirement.extras)]]
    # A CUDA build of torch brings packages of its own, and setuptools comes with the environment.
    extra = {
        name for name in unpinned if name.startswith(("nvidia-", "cuda-")) or name in ("triton", "setuptools")
    }
    assert set(unpinned) - extra == set()


def test_constraints_name_no_folder_no_address_and_no_local_version() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert [line for line in pinned if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+", line)] == []


def test_the_demonstration_packages_are_pinned_alike_in_both_files() -> None:
    lines = (ROOT / "demo/requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert {name: pins().get(name) for name in wanted} == wanted


def test_the_version_stands_once() -> None:
    assert PYPROJECT["project"]["version"] == doubleroute.__version__


def test_no_tracked_file_names_a_place_on_somebodys_machine() -> None:
    folders = "|".join(["work", "tmp", "root", "home", "opt", "mnt", "Users"])
    place = re.compile(rf"(?<![\w.~/:-])/(?:{folders})/\w")
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{n}: {line}" for n, line in enumerate(lines, 1) if place.search(line)
        ]
    assert found == []


def test_nothing_of_the_data_and_of_the_results_is_tracked() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in tracked()]
    kept = [name for name in names if name.startswith(("data/", ".doubleroute/", ".venv/", "mlflow/"))]
    assert set(kept) <= {"mlflow/README.md"}


def test_the_event_that_starts_a_retraining_is_of_the_repository_s_project_alone() -> None:
    deployments = YAML(typ="safe").load(ROOT / "prefect.yaml")["deployments"]
    (trigger,) = (trigger for each in deployments for trigger in each.get("triggers", []))
    resource = trigger["match"]["prefect.resource.id"]
    assert resource == f"doubleroute.project.{load_project(ROOT).name}-*"
    assert f"doubleroute.project.{label(load_project(ROOT))}".startswith(resource.removesuffix("*"))


def test_the_makefile_and_the_workflows_name_no_registry() -> None:
    for name in (
        "Makefile",
        ".ci/run",
        ".github/workflows/ci.yml",
        ".github/workflows/review.yml",
        "constraints.txt",
        "demo/requirements.txt",
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"index-url|find-links|https?://", text), name


@pytest.mark.parametrize("name", ["ci", "review"])
def test_a_workflow_may_do_no_more_than_it_must_and_puts_no_strangers_words_into_a_shell(name: str) -> None:
    path = ROOT / ".github" / "workflows" / f"{name}.yml"
    workflow = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    writes = {what for what, right in workflow["permissions"].items() if right != "read"}
    assert writes == ({"pull-requests", "statuses"} if name == "review" else set())
    assert "pull_request_target" not in workflow["on"]
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "${{" in step.get("run", "")] == []
    actions = [step["uses"] for step in steps if "uses" in step]
    assert [each for each in actions if not re.fullmatch(r"actions/[a-z-]+@v\d+", each)] == []


def test_the_review_workflow_makes_the_data_that_a_review_compares(tmp_path: Path) -> None:
    def commit(name: str) -> str:
        git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", name)
        return git(tmp_path, "rev-parse", "HEAD")

    git(tmp_path, "init", "--quiet", "--initial-branch=main", ".")
    fork = commit("where the branch began")
    git(tmp_path, "checkout", "--quiet", "-b", "topic")
    head = commit("the change")
    git(tmp_path, "checkout", "--quiet", "main")
    commit("what main gained meanwhile")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    made = '*/demo/make_data.py) git -C "${1%/demo/make_data.py}" rev-parse HEAD >>made;;'
    python.write_text(f'#!/bin/sh\ncase "$1" in {made} esac\n')
    python.chmod(0o755)
    text = (ROOT / ".github" / "workflows" / "review.yml").read_text(encoding="utf-8")
    steps = YAML(typ="safe", pure=True).load(text)["jobs"]["review"]["steps"]
    (step,) = (step for step in steps if step.get("name") == "Make the data of both versions")
    places = {"RUNNER_TEMP": str(tmp_path / "temp"), "BASE": "main", "HEAD": "topic"}
    command = ["bash", "-e", "-c", step["run"]]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, **places}, check=True, capture_output=True)
    assert (tmp_path / "made").read_text().split() == [fork, head]
    assert fork_point(tmp_path, "main", "topic") == fork


@pytest.mark.parametrize("library", DOORS)
def test_every_module_but_a_library_s_doors_is_kept_from_importing_it(library: str) -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    (kept,) = (each["source_modules"] for each in contracts if each.get("forbidden_modules") == [library])
    files = [file.relative_to(ROOT / "src") for file in (ROOT / "src" / "doubleroute").rglob("*.py")]
    # A package's own file stands for the package, and packages with a door are kept module by module.
    names = [".".join(file.with_suffix("").parts) for file in files if file.name != "__init__.py"]
    free = [name for name in names if not any(f"{name}.".startswith(f"{each}.") for each in kept)]
    assert [name for name in free if not re.fullmatch(rf"doubleroute\.({DOORS[library]})", name)] == []
    assert free


def test_the_licence_is_the_one_that_pyproject_names() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_demonstration_is_named_as_its_model_in_the_registry() -> None:
    assert load_project(ROOT).model_name == "reviews-and-entities"


def test_distclean_leaves_what_may_be_in_no_other_place() -> None:
    asked = subprocess.run(
        ["make", "--dry-run", "distclean"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said = (ROOT / "Makefile").read_text(encoding="utf-8")
    for place in ("decisions", "requests", ".dvc/cache"):
        assert place not in asked.stdout
    assert "decisions/, requests/ and .dvc/cache stay" in said
