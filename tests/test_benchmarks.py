"""What `make bench` writes, and what `make bench-check` calls a regression."""

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from typer.main import get_command

from doubleroute.cli import app
from doubleroute.data.arrivals import ROWS, remember
from doubleroute.training.selection import read_selection

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
#: Of a machine's figures what has no part in a test.
REST: dict[str, Any] = {"parts": {}, "growth": []}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Gives a script of the folder as a module; helpers of tests have some of their names."""
    names = [file.stem for file in BENCHMARKS.glob("*.py")]
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(before)


@pytest.fixture
def run(script: Callable[[str], Any]) -> Any:
    return script("run")


def line(work: str, ours: list[float], theirs: list[float], unit: str = "s") -> dict[str, Any]:
    from measure import Line

    made = Line(work, "a peer", unit, ours, theirs, least=2.0)
    return {**vars(made), "ratio": made.ratio, "share": made.share}


def test_a_ratio_that_fell_by_more_than_a_sixth_is_a_regression(run: Any) -> None:
    kept = [line("fit", [1.0], [4.0]), line("tokens", [8.0], [2.0], "tokens/s"), line("gone", [1.0], [1.0])]
    now = [line("fit", [1.3], [4.0]), line("tokens", [7.0], [2.0], "tokens/s"), line("new", [9.0], [1.0])]
    (said,) = run.regressions(kept, now)
    assert said == "fit, against a peer: 3.08 times, it was 4.00"


def kept(*lines: dict[str, Any], cores: int = 2, gpu: str | None = None) -> dict[str, Any]:
    return {"processor": "one", "instructions": ["avx2"], "cores": cores, "gpu": gpu, "lines": list(lines)}


def test_the_comparison_says_what_it_compared_and_fails_on_lines_that_are_gone(run: Any) -> None:
    before = kept(line("fit", [1.0], [4.0]), line("gone", [1.0], [1.0]))
    now = kept(line("fit", [1.0], [4.0]), line("new", [9.0], [1.0]))
    said, worse = run.compared(before, now, partly=False)
    assert said[0].startswith("1 compared, 1 new, 1 gone; 0 ")
    assert said[1:] == ["not measured: gone, against a peer"]
    assert worse
    assert not run.compared(before, now, partly=True)[1]


def test_ratios_of_another_machine_are_named_and_do_not_fail(run: Any) -> None:
    before, now = kept(line("fit", [1.0], [4.0]), cores=8), kept(line("fit", [4.0], [4.0]))
    said, worse = run.compared(before, now, partly=False)
    assert said[1].startswith("two machines, one (avx2) with 8 cores and one (avx2) with 2 cores")
    assert said[2] == "fit, against a peer: 1.00 times, it was 4.00"
    assert not worse


def test_a_gpu_makes_another_machine(run: Any) -> None:
    before, now = kept(line("fit", [1.0], [4.0]), gpu="a card"), kept(line("fit", [4.0], [4.0]))
    said, worse = run.compared(before, now, partly=False)
    assert said[1].startswith(
        "two machines, one (avx2) with 2 cores and a card and one (avx2) with 2 cores: "
    )
    assert not worse


def test_the_figures_name_the_gpus_of_the_machine(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run.gpu() is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho a card\necho another\n", encoding="utf-8")
    tool.chmod(0o755)
    assert run.gpu() == "a card, another"


@pytest.mark.costly
@pytest.mark.parametrize("name", ["predict", "serving"])
def test_what_is_held_against_peers_on_processors_sees_no_gpu(name: str) -> None:
    seen = "torch.cuda.device_count(), repr(os.environ['CUDA_VISIBLE_DEVICES'])"
    words = [sys.executable, "-c", f"import os, {name}, torch; print({seen})"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
    done = subprocess.run(words, cwd=BENCHMARKS, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "0 ''\n"


def test_other_answers_fail_the_comparison_on_any_machine(run: Any) -> None:
    before, now = kept(line("fit", [1.0], [4.0]), cores=8), kept(line("fit", [1.0], [4.0]))
    now["lines"][0]["note"] = run.OTHER
    said, worse = run.compared(before, now, partly=True)
    assert "fit: OTHER ANSWERS" in said
    assert worse


def test_a_line_says_when_fewer_answers_are_the_same_than_should_be(script: Callable[[str], Any]) -> None:
    measure = script("measure")
    assert measure.agreeing(0.97, 0.97, "PyTorch") == "97.00% of the answers are those of PyTorch"
    assert measure.OTHER in measure.agreeing(0.9697, 0.97, "PyTorch")
    assert measure.OTHER in measure.agreeing(0.9998, 1.0, "PyTorch")


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """The runner in a folder of its own with three scripts: training ends with 7, routing skips a line."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (tmp_path / "docs").mkdir()
    for name in ("run", "measure", "plots"):
        shutil.copyfile(BENCHMARKS / f"{name}.py", folder / f"{name}.py")
    (folder / "tokenising.py").write_text("print('tokenised')", encoding="utf-8")
    (folder / "training.py").write_text("raise SystemExit(7)", encoding="utf-8")
    (folder / "routing.py").write_text(
        "from measure import skip; skip('a line', 'no data')", encoding="utf-8"
    )
    return folder / "run.py"


def started(toys: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(toys), *words], capture_output=True, text=True, check=False)


def all_end_well(toys: Path, run: Any) -> None:
    """Every script does, without a figure."""
    for name in run.SCRIPTS:
        (toys.parent / f"{name}.py").write_text("", encoding="utf-8")


def test_a_failed_script_is_named_the_others_go_on_and_the_page_stays(toys: Path) -> None:
    page = toys.parents[1] / "docs" / "benchmarks.md"
    page.write_text("a good page", encoding="utf-8")
    done = started(toys)
    assert done.returncode == 1
    assert "skipped: a line: no data" in done.stdout
    assert "failed: training ended with 7; " in done.stderr
    assert page.read_text(encoding="utf-8") == "a good page"


def test_a_check_without_kept_figures_is_an_error(toys: Path) -> None:
    done = started(toys, "--check")
    assert done.returncode == 2
    assert "there is nothing to compare with" in done.stderr
    assert "tokenised" not in done.stdout


def test_without_the_data_sets_the_comparison_of_six_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copytree(BENCHMARKS, tmp_path / "checkout" / "benchmarks")
    done = started(tmp_path / "checkout" / "benchmarks" / "six_sets.py", "--folder", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "../shared/data/snips" in done.stderr


def test_the_page_names_the_commit_and_what_was_not_measured(run: Any) -> None:
    gone = {"skipped": "a line", "why": "its data are not there"}
    page = run.page([{**run.machine(), "seconds": 130, "lines": [], "skipped": [gone], **REST}])
    assert f", commit {run.commit()}, " in page
    assert "Not measured: a line: its data are not there." in page


def test_the_page_says_what_is_met_and_how_far_the_rounds_lie_apart(run: Any) -> None:
    lines = [line("fit", [1.0, 2.0], [4.0, 4.0]), line("slow", [4.0], [4.0])]
    page = run.page([{**run.machine(), "seconds": 130, "lines": lines, "skipped": [], **REST}])
    assert "| fit | a peer | 1.5 s | 4 | 2.67 (2.00 to 4.00) | 2 (met) |" in page
    assert "1.00 (one round) | 2 (not met) |" in page


def test_a_run_takes_the_place_of_the_one_before_on_a_machine_of_its_sort(toys: Path, run: Any) -> None:
    all_end_well(toys, run)
    (toys.parent / "growth.py").write_text(
        "from measure import grown; grown('predict', {3: {'seconds': 1.0, 'mb': 1.0}})", encoding="utf-8"
    )
    page, figures = (toys.parents[1] / "docs" / f"benchmarks.{end}" for end in ("md", "json"))
    other = {**run.machine(), "instructions": ["another"], "seconds": 9, "lines": [], "skipped": [], **REST}
    figures.write_text(json.dumps([other, {**other, **run.machine()}]), encoding="utf-8")
    assert started(toys).returncode == 0
    newest, kept = json.loads(figures.read_text(encoding="utf-8"))
    assert (run.hardware(newest), kept) == (run.hardware(run.machine()), other)
    written = page.read_text(encoding="utf-8")
    assert written.index(f"## {run.hardware(newest)}") < written.index(f"## {run.hardware(other)}")
    assert written.count("(growth.svg)") == 1


def test_a_check_is_against_the_figures_of_a_machine_of_its_sort(toys: Path, run: Any) -> None:
    all_end_well(toys, run)
    here = {**run.machine(), "seconds": 9, "lines": [line("gone", [1.0], [1.0])], "skipped": []}
    other = {**here, "instructions": ["another"], "lines": [line("of another", [1.0], [1.0])]}
    (toys.parents[1] / "docs" / "benchmarks.json").write_text(json.dumps([other, here]), encoding="utf-8")
    done = started(toys, "--check")
    assert done.returncode == 3
    assert "not measured: gone, against a peer" in done.stdout
    assert "of another" not in done.stdout


def test_growth_is_a_table_and_a_picture_that_a_browser_shows_by_itself(run: Any) -> None:
    by_rows = {rows: {"seconds": rows / 1e4, "mb": 3.0} for rows in (300, 3000)}
    growth = [{"stage": "predict", "by_rows": {str(rows): each for rows, each in by_rows.items()}}]
    found = {**run.machine(), "seconds": 130, "lines": [], "skipped": [], **REST, "growth": growth}
    page = run.page([found])
    assert "| predict | 0.030 s, 3 MB | 0.300 s, 3 MB | 10.0 | 1.0 |" in page
    picture = run.growth_plot({"predict": by_rows})
    assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert "3,000" in picture


def test_the_commands_whose_cost_is_measured_are_ones_that_the_command_line_takes(
    script: Callable[[str], Any], tmp_path: Path
) -> None:
    known = get_command(app)
    for name, *words in script("overhead").SERVERLESS.values():
        given = known.commands[name].make_context(name, ["--project", str(tmp_path), *words])
        assert given.params["project"] == tmp_path


def test_a_warm_command_stands_beside_the_tools_in_a_fresh_folder_and_run_again(
    script: Callable[[str], Any],
) -> None:
    fresh, again = script("overhead").beside_training("predict", [1.0], [20.0], [12.0], 0.5)
    assert "in a fresh folder" in fresh.against
    assert (fresh.ratio, fresh.least, fresh.share) == (20.0, 10, 0.5)
    assert "run again in the same folder" in again.against
    assert (again.ratio, again.least, again.share) == (12.0, None, 0.5)


def test_a_measured_command_may_end_with_no_other_exit_code_than_a_good_one(
    script: Callable[[str], Any], tmp_path: Path
) -> None:
    overhead = script("overhead")
    ends = [sys.executable, "-c", "import sys; sys.exit(4)"]
    assert overhead.cost(ends, tmp_path, (0, 4)) > 0
    with pytest.raises(SystemExit, match="ended with 4"):
        overhead.cost(ends, tmp_path)


@pytest.mark.costly
def test_a_retraining_is_measured_with_new_rows_drawn_as_often_as_retrain_draws_them(
    script: Callable[[str], Any], tiny_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("OMP_NUM_THREADS", "1"), ("TOKENIZERS_PARALLELISM", "false")):
        monkeypatch.setenv(name, value)  # which the script sets for its process
    retraining, new = script("retraining"), 3
    given = script("fits").ready(tiny_project)
    known = pd.read_parquet(remember(given.project, given.workspace, given.validated).path / ROWS)
    learned = known.index[(known["task"] == "sentiment") & (known["split"] == "train")]
    known.drop(learned[:new]).to_parquet(tmp_path / ROWS)
    (tmp_path / "model.safetensors").touch()
    champion = retraining.Learned(1, tmp_path, 1.0, 1.0, 1, tmp_path / ROWS)
    plan = retraining.plan_of(given, champion)
    drawn = read_selection(plan.selection, ["sentiment"])
    assert drawn is not None
    weight = given.project.retraining.new_rows_weight
    assert sorted(drawn["sentiment"]) == [1.0] * (len(learned) - new) + [weight] * new
    assert retraining.plan_of(given, None) == retraining.FROM_NOTHING


def test_memory_of_a_process_does_not_begin_with_that_of_the_one_that_started_it(
    script: Callable[[str], Any],
) -> None:
    growth = script("growth")
    held = b"x" * 300_000_000  # more than a process that imports the script has
    command = "import sys; sys.path.insert(0, sys.argv[1]); import growth; print(growth.peak())"
    words = [sys.executable, "-c", command, str(BENCHMARKS)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert growth.peak() > len(held) / 1e6
    assert float(done.stdout) < 300


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors cannot be chosen here")
def test_each_server_has_as_many_processors_as_threads_and_others_than_the_one_before(
    script: Callable[[str], Any],
) -> None:
    processors, free = script("measure").processors, os.sched_getaffinity(0)
    of_one, of_other = processors(0, 1), processors(1, 1)
    assert len(of_one) == len(of_other) == 1
    assert of_one != of_other or len(free) == 1
    assert processors(1, len(free)) == free


@pytest.mark.parametrize("file", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_imports_what_is_there(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("doubleroute"):
            module = importlib.import_module(str(node.module))
            for name in (each.name for each in node.names):
                assert hasattr(module, name) or find_spec(f"{module.__name__}.{name}"), (node.module, name)
