"""`doubleroute review` as a process, on a tiny project under git and DVC."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import write_tiny_project
from versioned import add, begin, branch, git, make, sentences, write_sentences

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
COMMAND = Path(sys.executable).with_name("doubleroute")


def review(root: Path, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    command = [str(COMMAND), "review", *arguments, "--project", str(root)]
    return subprocess.run(
        command, capture_output=True, text=True, input=stdin, timeout=240, env=dict(os.environ)
    )


def document(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def good(data: Path) -> None:
    """Eight rows of words that no row has in this order, labelled as the others are."""
    words = ["a", "film", "and", "numbers", "like", "a", "line", "this", "42", "short", "reads", "plain"]
    new = [
        f"{' '.join(words[at:] + words[:at])} {('bad', 'good')[at % 2]},{('neg', 'pos')[at % 2]},mail"
        for at in range(8)
    ]
    write_sentences(data, [*sentences(data), *new])


def faulty(data: Path) -> None:
    """Two flipped labels, and the text of another row with the other label."""
    header, *rows = sentences(data)
    for place in (3, 4):
        text, label, source = rows[place].split(",")
        rows[place] = f"{text},{'pos' if label == 'neg' else 'neg'},{source}"
    text, label, source = rows[10].split(",")
    rows.append(f"{text},{'pos' if label == 'neg' else 'neg'},{source}")
    write_sentences(data, [header, *rows])


def shuffled(data: Path) -> None:
    header, *rows = sentences(data)
    write_sentences(data, [header, *reversed(rows)])


def broken(data: Path) -> None:
    write_sentences(data, ["text,lable,source", *sentences(data)[1:]])


@pytest.fixture(scope="module")
def made(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make(tmp_path_factory.mktemp("review") / "project", tiny_backbone)
    for change in (good, faulty, shuffled, broken):
        branch(root, change.__name__, change)
    return root


def test_good_rows_are_approved_and_the_working_tree_is_left_alone(made: Path) -> None:
    before = (git(made, "status", "--porcelain"), (made / "data.dvc").read_text(encoding="utf-8"))
    done = review(made, "main", "good", "--json")
    found = document(done)
    assert done.returncode == 0, done.stderr
    counts = found["tasks"]["sentiment"]["counts"]
    assert sum(each["added"] for each in counts.values()) == 8
    assert {kind for each in counts.values() for kind, n in each.items() if n} == {"added", "unchanged"}
    assert found["impact"]["entities"]["verdict"] == "no change"
    assert found["impact"]["sentiment"]["verdict"] in ("cannot tell", "better", "no change")
    assert found["verdict"]["verdict"] in ("approve", "look")
    assert (git(made, "status", "--porcelain"), (made / "data.dvc").read_text(encoding="utf-8")) == before


def test_faults_are_found_by_name_with_rows_to_look_at(made: Path) -> None:
    done = review(made, "main", "faulty")
    assert done.returncode == 0, done.stderr
    assert "1 added, 2 relabelled" in done.stdout
    assert "look: conflict in sentiment: 1 row with the text of another row and another label" in done.stdout
    assert done.stdout.startswith("Look: ")


@pytest.mark.costly
def test_the_same_rows_in_another_order_change_nothing(made: Path) -> None:
    found = document(review(made, "main", "shuffled", "--json"))
    assert found["changes"]["total"] == 0
    assert [each["name"] for each in found["findings"]] == ["reordered"]
    assert {each["verdict"] for each in found["impact"].values()} == {"no change"}
    assert found["verdict"]["verdict"] == "approve"


def reworded(data: Path) -> None:
    (data / "answers.csv").unlink()
    (data / "answers.csv").write_text("id,text\nopen,Call us.\nclose,Push the door.\n", encoding="utf-8")


@pytest.mark.slow
def test_an_answer_with_another_text_is_found_though_no_row_changed(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    (root / "data" / "answers.csv").write_text("id,text\nopen,Pull the door.\nclose,Push the door.\n")
    asked = [{"text": f"line {n} of words", "label": ("open", "close")[n % 2]} for n in range(30)]
    lines = "".join(json.dumps(row) + "\n" for row in asked)
    (root / "data" / "help.jsonl").write_text(lines, encoding="utf-8")
    more = (
        "  help:\n    kind: retrieval\n    files: {train: data/help.jsonl}\n"
        "    answers: {file: data/answers.csv}\n    split: {validation: 0.2, test: 0.2}\ntraining: {"
    )
    path = root / "project.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("training: {", more), encoding="utf-8")
    branch(begin(root), "reworded", reworded)
    done = review(root, "main", "reworded", "--json")
    assert done.returncode == 0, done.stderr
    found = document(done)
    assert found["changes"]["total"] == 0
    assert [(each["name"], each["task"]) for each in found["findings"]] == [("answers", "help")]
    assert found["impact"]["help"]["verdict"] == "cannot tell"
    assert "the answers that it retrieves did" in found["impact"]["help"]["why"]
    assert found["verdict"]["verdict"] == "look"


@pytest.mark.costly
def test_a_version_that_cannot_be_read_is_blocked_with_the_reason(made: Path) -> None:
    command = [str(COMMAND), "review", "main", "broken"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=made)
    assert done.returncode == 3
    assert "block: unreadable: the new version cannot be read" in done.stdout, done.stderr
    assert "lable" in done.stdout
    assert ".doubleroute" not in done.stdout.split("review:")[0]


@pytest.mark.slow
def test_an_expectation_that_the_change_makes_uncheckable_blocks_it(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    header, *rows = sentences(root / "data")
    write_sentences(root / "data", [f"{header},stars", *(f"{row},3" for row in rows)])
    filled = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "stars"}}
    (root / "expectations").mkdir()
    (root / "expectations" / "sentiment.json").write_text(json.dumps({"expectations": [filled]}))
    branch(begin(root), "dropped", lambda data: write_sentences(data, [header, *rows]))
    done = review(root, "main", "dropped", "--quick", "--json")
    assert done.returncode == 3, done.stderr
    findings = {each["name"]: each["title"] for each in document(done)["findings"]}
    assert findings.keys() == {"unreadable", "columns"}
    assert "expectation 1: expect_column_values_to_not_be_null could not" in findings["unreadable"]
    # A base that cannot be validated is compared all the same.
    main, dropped = (git(root, "rev-parse", name) for name in ("main", "dropped"))
    lines = f"refs/heads/x {main} refs/heads/x {dropped}\n"
    done = review(root, "--pre-push", "--quick", "--json", stdin=lines)
    assert done.returncode == 0, done.stderr
    (found,) = document(done)["reviews"]
    assert [each["name"] for each in found["findings"]] == ["columns"]


@pytest.mark.costly
def test_a_base_whose_project_cannot_be_read_is_named_by_its_revision(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    root = make(tmp_path / "project", tiny_backbone, rows=20)
    path = root / "project.yaml"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + "later_version: true\n", encoding="utf-8")
    git(root, "commit", "--quiet", "-am", "a key of another version")
    path.write_text(whole, encoding="utf-8")
    git(root, "commit", "--quiet", "-am", "without it")
    done = review(root)
    assert done.returncode == 2
    assert done.stderr.startswith("error: HEAD~1: project.yaml has 1 mistake"), done.stderr
    assert "later_version" in done.stderr


def test_what_is_staged_is_reviewed_before_it_is_committed(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(made, root, symlinks=True)
    faulty(root / "data")
    add(root)
    found = document(review(root, "--staged", "--quick", "--json"))
    assert found["head"]["commit"] is None
    assert found["impact"] == {}
    assert {"conflict"} <= {each["name"] for each in found["findings"]}


def test_an_acknowledged_finding_does_not_count(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(made, root, symlinks=True)
    git(root, "checkout", "--quiet", "-B", "known", "faulty")
    entry = "- {finding: conflict, reason: two people read it in two ways, until: 2999-01-01}\n"
    (root / "acknowledged.yaml").write_text(entry, encoding="utf-8")
    git(root, "add", "acknowledged.yaml")
    git(root, "commit", "--quiet", "-m", "known")
    done = review(root, "main", "known", "--quick")
    assert done.returncode == 0, done.stdout
    assert "acknowledged until 2999-01-01" in done.stdout


@pytest.mark.slow
def test_a_task_that_is_new_is_looked_at_as_a_whole(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(made, root, symlinks=True)
    git(root, "checkout", "--quiet", "-B", "more", "main")
    path = root / "project.yaml"
    text = path.read_text(encoding="utf-8")
    new = "tasks:\n  again:\n    kind: classification\n    files: {train: data/sentiment.csv}\n"
    path.write_text(text.replace("tasks:\n", new), encoding="utf-8")
    git(root, "commit", "--quiet", "--all", "-m", "more")
    found = document(review(root, "main", "more", "--json"))
    assert found["verdict"]["verdict"] == "look"
    assert {"tasks", "leak-across-tasks"} & {each["name"] for each in found["findings"]} >= {"tasks"}
    assert sum(each["added"] for each in found["tasks"]["again"]["counts"].values()) == 200
    assert found["impact"]["again"]["verdict"] == "cannot tell"


@pytest.mark.slow
def test_rows_are_redacted_by_the_patterns_of_both_versions(tiny_backbone: Path, tmp_path: Path) -> None:
    root = write_tiny_project(tmp_path / "project", tiny_backbone)
    path = root / "project.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "serving: {redact: ['re:plain']}\n", encoding="utf-8")

    def change(data: Path) -> None:
        path.write_text(path.read_text(encoding="utf-8").replace("re:plain", "re:words"), encoding="utf-8")
        write_sentences(data, sentences(data)[:-20])

    branch(begin(root), "topic", change)
    found = document(review(root, "main", "topic", "--quick", "--json"))
    texts = [each["base"]["text"] for each in found["changes"]["rows"]]
    assert len(texts) == 20
    assert any("[redacted]" in text for text in texts)
    assert not any("plain" in text or "words" in text for text in texts)
    assert "rules" in {each["name"] for each in found["findings"]}


def test_the_files_of_a_review_are_copied_to_where_they_are_wanted(made: Path, tmp_path: Path) -> None:
    done = review(made, "main", "faulty", "--quick", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["changes.jsonl", "findings.jsonl", "review.html", "review.json", "review.md"]
    written = (tmp_path / "out" / "findings.jsonl").read_text(encoding="utf-8").splitlines()
    conflict = next(each for each in map(json.loads, written) if each["finding"] == "conflict")
    assert (conflict["task"], len(conflict["rows"])) == ("sentiment", 1)


def test_a_push_is_reviewed_branch_by_branch_and_the_worst_verdict_counts(made: Path) -> None:
    main, *heads = (git(made, "rev-parse", name) for name in ("main", "faulty", "broken"))
    lines = "".join(f"refs/heads/x {head} refs/heads/x {main}\n" for head in heads)
    done = review(made, "--pre-push", "--quick", stdin=lines)
    assert done.returncode == 3, done.stderr
    assert (done.stdout.count("\nLook: ") + done.stdout.startswith("Look: "), "Block: " in done.stdout) == (
        1,
        True,
    )
    nothing = review(made, "--pre-push", "--quick", stdin=f"refs/heads/x {main} refs/heads/x {main}\n")
    assert (nothing.returncode, nothing.stdout) == (0, "nothing that is pushed changes the data\n")


def test_a_push_that_takes_the_data_away_is_refused(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(made, root, symlinks=True)
    git(root, "rm", "--quiet", "data.dvc")
    git(root, "commit", "--quiet", "-m", "without data")
    main, head = git(root, "rev-parse", "HEAD~1"), git(root, "rev-parse", "HEAD")
    done = review(root, "--pre-push", "--quick", stdin=f"refs/heads/x {head} refs/heads/x {main}\n")
    assert done.returncode == 2
    assert "data.dvc is not there" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("main", "nowhere"), "'nowhere' is no commit, branch or tag"),
        (("main", "good", "--staged"), "HEAD 'good' and --staged name two changes"),
        (("main", "--pre-push"), "--pre-push takes what is reviewed from stdin"),
        (
            ("main", "good", "--quick", "--full"),
            "--quick and --full ask for no model and for whole trainings",
        ),
    ],
)
def test_what_cannot_be_reviewed_is_bad_input(made: Path, arguments: tuple[str, ...], said: str) -> None:
    done = review(made, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_review_against_what_comes_later_says_that_nothing_was_compared(made: Path) -> None:
    done = review(made, "good", "main", "--quick")
    assert done.returncode == 0
    assert "nothing was compared; are the two swapped?" in done.stdout


def test_a_folder_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    done = review(tmp_path / "nowhere", "main", "topic")
    assert done.returncode == 2
    assert "does not exist" in done.stderr


def test_a_folder_without_a_repository_is_bad_input(tmp_path: Path) -> None:
    done = review(tmp_path, "main", "topic")
    assert done.returncode == 2
    assert "is in no git repository" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_full_trains_both_versions_with_three_seeds(made: Path) -> None:
    command = [str(COMMAND), "review", "main", "faulty", "--full", "--json", "--project", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, env=dict(os.environ))
    full = document(done)["full"]["sentiment"]
    assert full["seeds"] == 3
    assert full["verdict"] == full["difference"]["verdict"]
    assert full["difference"]["low"] <= full["difference"]["value"] <= full["difference"]["high"]
    difference = full["head"]["value"] - full["base"]["value"]
    assert full["difference"]["value"] == pytest.approx(difference)
