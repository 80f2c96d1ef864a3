"""All benchmarks of the page, one after the other: docs/benchmarks.md, docs/benchmarks.json, docs/growth.svg.

    python benchmarks/run.py            (make bench)
    python benchmarks/run.py --check    (make bench-check): against the JSON that is kept; writes nothing

A benchmark is a script of this folder, run in a process of its own. When one fails the others go on, but then
nothing is written, and the exit code is 1.

Figures are kept by machine (processor, what it multiplies, cores, GPU): a run takes the place of the one
before on a machine of the same sort, and stands first.

With --check a line is compared with the kept one of its name. The exit code is 3 when a ratio is more than
15% below the kept one, when a kept line was not measured (unless --only chose), or when a note says that
answers are others than they should be; it is 2 when no figures are kept. Where none are of a machine of this
sort, slower and gone lines of the newest are named without failing: the ratios are of another machine.
A peer that is our own code (the same without router, from nothing) becomes slower together with ours: the
ratio does not show it.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import OTHER, SHARED, VARIABLE, ratio_of
from plots import growth_plot

HERE = Path(__file__).parent
KEPT = HERE.parent / "docs" / "benchmarks.json"
PAGE = HERE.parent / "docs" / "benchmarks.md"
PLOT = HERE.parent / "docs" / "growth.svg"
SCRIPTS = (
    "tokenising",
    "training",
    "routing",
    "retraining",
    "predict",
    "serving",
    "drift_speed",
    "overhead",
    "growth",
)
#: A ratio below this part of the kept one is a regression.
LEAST = 0.85
#: What a processor may multiply, the best first: the ratios of bfloat16 and int8 hang on it.
INSTRUCTIONS = (
    *("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2"),
    *("bf16", "i8mm", "asimddp"),
)
LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "onnxruntime",
    "numpy",
    "prefect",
    "mlflow",
    "great-expectations",
)


def main() -> None:
    """Run, and write or compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the kept figures")
    parser.add_argument("--only", nargs="*", choices=SCRIPTS, default=SCRIPTS, help="some of them")
    options = parser.parse_args()
    kept: list[dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else []
    if options.check and not kept:
        parser.error(f"there is nothing to compare with: {KEPT} has no figures; make bench writes them")
    begun = time.perf_counter()
    about, parts, told = machine(), dict[str, int](), list[dict[str, Any]]()
    failed = []
    with tempfile.TemporaryDirectory(prefix="doubleroute-") as shared:
        for name in options.only:
            started = time.perf_counter()
            try:
                told += measured(name, shared)
            except subprocess.CalledProcessError as error:
                failed.append(f"{name} ended with {error.returncode}")
            parts[name] = round(time.perf_counter() - started)
            print(f"== {name}: {parts[name]} s\n", flush=True)
    found = {
        **about,
        "seconds": round(time.perf_counter() - begun),
        "parts": parts,
        "lines": [each for each in told if "work" in each],
        "skipped": [each for each in told if "skipped" in each],
        "growth": [each for each in told if "stage" in each],
    }
    partly, worse = len(options.only) < len(SCRIPTS), False
    others = [each for each in kept if hardware(each) != hardware(found)]
    if options.check:
        alike = [each for each in kept if hardware(each) == hardware(found)]
        said, worse = compared((alike or kept)[0], found, partly)
        print("\n".join(said))
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}" + ("" if options.check else "; nothing is written"))
    if options.check or partly:
        sys.exit(3 if worse else 0)
    keep([found, *others])


def keep(machines: Sequence[dict[str, Any]]) -> None:
    """Write the figures, the page of all machines, and the plot of the first one's growth."""
    KEPT.write_text(json.dumps(machines, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(machines), encoding="utf-8")
    growth = {
        each["stage"]: {int(rows): of for rows, of in each["by_rows"].items()}
        for each in machines[0]["growth"]
    }
    PLOT.write_text(growth_plot(growth), encoding="utf-8")


def measured(name: str, shared: str) -> list[dict[str, Any]]:
    """The lines of one script, which also prints them; ``shared``: a folder for what several need."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "lines"
        place.touch()
        print(f"== {name}", flush=True)
        environment = {**os.environ, VARIABLE: str(place), SHARED: shared}
        subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=True, env=environment)
        return [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.is_file() else []
    of_one = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = (of_one.get("flags") or of_one.get("Features") or "").split()
    return {
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "processor": of_one.get("model name") or platform.processor() or platform.machine(),
        "instructions": [each for each in INSTRUCTIONS if each in flags],
        "cores": os.cpu_count(),
        "gpu": gpu(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def gpu() -> str | None:
    """The names of the GPUs by nvidia-smi; None without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return ", ".join(done.stdout.splitlines()) if done.returncode == 0 and done.stdout else None


def commit() -> str:
    """The commit that is measured, "-dirty" behind it where files differ from it; "unknown" without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def compared(kept: dict[str, Any], found: dict[str, Any], partly: bool) -> tuple[list[str], bool]:
    """What to say of the figures beside the kept ones, and whether they fail; ``partly``: some scripts were
    left out, so that kept lines may be missing."""
    before, now = ({(line["work"], line["against"]) for line in each["lines"]} for each in (kept, found))
    slower = regressions(kept["lines"], found["lines"])
    missing = [] if partly else sorted(before - now)
    gone = [f"not measured: {work}, against {against}" for work, against in missing]
    others = [f"{line['work']}: {line['note']}" for line in found["lines"] if OTHER in line["note"]]
    said = [
        f"{len(before & now)} compared, {len(now - before)} new, {len(before - now)} gone; "
        f"{len(slower)} of the ratios are more than 15% below the kept ones"
    ]
    elsewhere = hardware(kept) != hardware(found)
    if elsewhere:
        both = f"{hardware(kept)} and {hardware(found)}"
        said.append(f"two machines, {both}: their ratios differ, and none of them fails")
    return [*said, *slower, *gone, *others], bool(others or ((slower or gone) and not elsewhere))


def hardware(of: Mapping[str, Any]) -> str:
    """What ratios depend on, in words."""
    best = f" ({', '.join(of['instructions'])})" if of["instructions"] else ""
    return f"{of['processor']}{best} with {of['cores']} cores" + (f" and {of['gpu']}" if of["gpu"] else "")


def regressions(kept: Sequence[dict[str, Any]], lines: Sequence[dict[str, Any]]) -> list[str]:
    """What is worse than it was, in words."""
    before = {(line["work"], line["against"]): line["ratio"] for line in kept}
    return [
        f"{line['work']}, against {line['against']}: {line['ratio']:.2f} times, it was {then:.2f}"
        for line in lines
        if (then := before.get((line["work"], line["against"]))) and line["ratio"] < LEAST * then
    ]


def page(machines: Sequence[dict[str, Any]]) -> str:
    """The figures of all machines as Markdown, the newest first."""
    text = [
        "# Benchmarks",
        "",
        "Written by `make bench`; the same figures are in benchmarks.json. Lines are measured against their",
        "peers in turns in one run; figures are medians of the rounds, the ratio is how many times better",
        "ours is. Retraining and overhead have one round each; the time of retraining's peers is computed",
        "from what was measured of them in the same run. The lines of routing need labelled data sets, which",
        "are looked for in the folder `shared/data` beside the one of this checkout.",
        "What was measured once, by hand, is in [results.md](results.md).",
    ]
    for found in machines:
        text += of_machine(found, pictured=found is machines[0])
    return "\n".join(text) + "\n"


def of_machine(found: Mapping[str, Any], pictured: bool) -> list[str]:
    """The figures of one machine as Markdown; ``pictured``: the plot is of it."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    text = [
        "",
        f"## {hardware(found)}",
        "",
        f"{found['time']}, commit {found['commit']}, load {found['load_before']} before, "
        f"{round(found['seconds'] / 60)} minutes. Python {found['python']}, {versions}.",
        "",
        "| work | against | ours | peer | ratio (rounds) | wanted | of the limit |",
        "|---|---|---|---|---|---|---|",
    ]
    if "remark" in found:  # added by hand
        text[-2:-2] = [found["remark"], ""]
    for line in found["lines"]:
        ours, theirs = (statistics.median(line[side]) for side in ("ours", "theirs"))
        rounds = [ratio_of(line["unit"], *pair) for pair in zip(line["ours"], line["theirs"], strict=True)]
        spread = f" ({min(rounds):.2f} to {max(rounds):.2f})" if len(rounds) > 1 else " (one round)"
        least = "" if line["least"] is None else f"{line['least']:g}" + met(line)
        share = "" if line["share"] is None else f"{line['share']:.0%}"
        work = f"{line['work']}; {line['note']}" if line["note"] else line["work"]
        text.append(
            f"| {work} | {line['against']} | {ours:,.4g} {line['unit']} | {theirs:,.4g} | "
            f"{line['ratio']:.2f}{spread} | {least} | {share} |"
        )
    for each in found["skipped"]:
        text += ["", f"Not measured: {each['skipped']}: {each['why']}."]
    told = ", ".join(f"{name} {seconds:,} s" for name, seconds in found["parts"].items())
    return [*text, "", f"Where the time went: {told}.", *growth_table(found["growth"], pictured)]


def growth_table(growth: Sequence[Mapping[str, Any]], pictured: bool) -> list[str]:
    """Seconds and growth of the peak memory by rows, as Markdown; nothing when nothing was measured."""
    if not growth:
        return []
    sizes = list(growth[0]["by_rows"])
    heads = [f"{int(rows):,} rows" for rows in sizes]
    text = [
        "",
        "### How stages grow with the rows",
        "",
        "Each stage and size in a process of its own, on one thread, with a random encoder of two layers and",
        "32 units: seconds of the work, and by how much the process's peak memory grew beyond what it was",
        "when the work began (growth.py says what a stage does).",
        "",
        *(["![Seconds and growth of the peak memory by rows](growth.svg)", ""] if pictured else []),
        f"| stage | {' | '.join(heads)} | seconds, each ten times | memory, each ten times |",
        f"|---|{'---|' * len(heads)}---|---|",
    ]
    for each in growth:
        of = [each["by_rows"][rows] for rows in sizes]
        cells = [f"{one['seconds']:.3f} s, {one['mb']:.0f} MB" for one in of]
        times = [
            ", ".join(f"{b[key] / max(a[key], least):.1f}" for a, b in itertools.pairwise(of))
            for key, least in (("seconds", 1e-3), ("mb", 1.0))
        ]
        text.append(f"| {each['stage']} | {' | '.join(cells)} | {' | '.join(times)} |")
    return text


def met(line: dict[str, Any]) -> str:
    """Whether a line reaches what is wanted."""
    return " (met)" if line["ratio"] >= line["least"] else " (not met)"


if __name__ == "__main__":
    main()
