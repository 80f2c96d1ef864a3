"""The log of what a model was asked: whole lines from several processes, bounded, redacted, read back."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from doubleroute.errors import InputError, MachineError
from doubleroute.modeling.inference import Answerer
from doubleroute.serving.log import (
    MOST_LABELS,
    RequestLog,
    _records,
    from_environment,
    read_log,
    short_answer,
)
from doubleroute.serving.predictor import predict
from doubleroute.serving.redaction import redactor
from doubleroute.serving.requests import Request

ANSWER = {"mood": {"label": "pos", "probabilities": {"neg": 0.25, "pos": 0.75}}}


def lines(folder: Path) -> list[dict[str, Any]]:
    """The records of all files, which hold nothing else."""
    files = sorted(folder.glob("requests-*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_bytes().split(b"\n")[:-1]]


def dated(folder: Path, name: str, records: list[tuple[str, str]]) -> Path:
    """A log file with these times and texts, as old as its last row."""
    folder.mkdir(exist_ok=True)
    path = folder / f"requests-{name}.jsonl"
    rows = [
        {"time": moment, "text": text, "answers": ANSWER, "model": {"version": "1", "digest": "d"}}
        for moment, text in records
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    last = time.mktime(time.strptime(records[-1][0], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    os.utime(path, (last, last))
    return path


def test_what_was_asked_and_answered_is_read_back_in_its_order(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "log", model={"version": "3", "digest": "abc"})
    log.write([{"text": "one"}, {"text": "two", "text_pair": "zwei"}], [ANSWER, ANSWER], ids=[7, None])
    log.write([{"tokens": ["thr", "ee"]}], [ANSWER])
    found = read_log(tmp_path / "log")
    assert (found.texts, found.pairs) == (["one", "two", "thr ee"], [None, "zwei", None])
    assert found.answers[0] == {"mood": {**ANSWER["mood"], "confidence": 0.75}}
    assert (set(found.digests), set(found.versions)) == ({"abc"}, {"3"})
    assert (len(found), found.read, found.skipped) == (3, 3, 0)
    assert lines(tmp_path / "log")[0]["id"] == 7
    assert found.times[0] == lines(tmp_path / "log")[0]["time"]


@pytest.mark.parametrize("there", [False, True])
def test_git_takes_no_log_along_and_sees_what_else_is_in_the_folder(tmp_path: Path, there: bool) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    folder = tmp_path / "log"
    if there:
        folder.mkdir()
        (folder / "ours.txt").write_text("x")
    RequestLog(folder).write([{"text": "one"}], [ANSWER])
    words = ["git", "status", "--porcelain", "--untracked-files=all"]
    seen = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert seen == ("?? log/ours.txt\n" if there else "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "requests-*.jsonl\n"),
        ("*.tmp", "*.tmp\nrequests-*.jsonl\n"),
        ("*.tmp\nrequests-*.jsonl\n", "*.tmp\nrequests-*.jsonl\n"),
        ("*\n", "*\n"),
    ],
)
def test_git_takes_no_log_along_where_the_folder_has_a_gitignore_of_its_own(
    tmp_path: Path, before: str, after: str
) -> None:
    ignored = tmp_path / ".gitignore"
    ignored.write_text(before)
    for _ in range(2):
        RequestLog(tmp_path).write([{"text": "one"}], [ANSWER])
    assert ignored.read_text() == after


def test_hostile_texts_are_one_line_each_and_come_back(tmp_path: Path) -> None:
    texts = ["a\nb\r\n\u2028c\x00\x1b[31m", '","text":"x"}', "x" * 1_000_000, "half \ud800 of one", "💥 é"]
    log = RequestLog(tmp_path, redact=())
    log.write([{"text": text} for text in texts], [ANSWER] * len(texts))
    assert read_log(tmp_path).texts == [*texts[:3], "half ? of one", texts[4]]
    assert len(lines(tmp_path)) == len(texts)


def test_a_row_too_long_to_read_is_left_out_and_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = RequestLog(tmp_path, redact=())
    for _ in range(2):
        log.write([{"text": "x" * 10_000_001}, {"text": "short"}], [ANSWER] * 2)
    assert read_log(tmp_path).texts == ["short", "short"]
    assert capsys.readouterr().err.count("rows of more than 10,000,000 bytes are left out") == 1


def test_files_are_bounded_in_size_and_number_and_the_oldest_goes(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, max_mb=0.002, files=3)
    for number in range(100):
        log.write([{"text": f"row {number}"}], [ANSWER])
    files = list(tmp_path.glob("requests-*.jsonl"))
    assert len(files) == 3
    assert all(path.stat().st_size <= 2000 for path in files)
    kept = read_log(tmp_path).texts
    assert kept == [f"row {number}" for number in range(100 - len(kept), 100)]
    assert len(kept) > 20


def test_a_row_larger_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, max_mb=0.001)
    log.write([{"text": text} for text in ("a", "b" * 5000, "c")], [ANSWER] * 3)
    sizes = sorted(path.stat().st_size for path in tmp_path.glob("requests-*.jsonl"))
    assert len(sizes) == 2
    assert sizes[0] < 1000 < 5000 < sizes[1]


def test_short_runs_one_after_the_other_share_a_file(tmp_path: Path) -> None:
    for number in range(20):
        log = RequestLog(tmp_path, files=2)
        log.write([{"text": f"row {number}"}], [ANSWER])
        log.close()
    assert len(list(tmp_path.glob("requests-*.jsonl"))) == 1
    assert len(read_log(tmp_path)) == 20


WRITER = """
import sys
from pathlib import Path
from doubleroute.serving.log import RequestLog

name, folder, rows = sys.argv[1:]
log = RequestLog(Path(folder), max_mb=0.02, files=1000)
answer = {"mood": {"label": "pos", "probabilities": {"pos": 1.0}}}
print("begun", flush=True)
number = 0
while number < int(rows):
    batch = [{"text": f"{name} {number + each} " + "x" * 200} for each in range(5)]
    log.write(batch, [answer] * 5)
    number += 5
"""


def writer(name: str, folder: Path, rows: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", WRITER, name, str(folder), str(rows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_two_processes_write_at_once_with_rotation_and_no_row_is_lost_or_mixed(tmp_path: Path) -> None:
    running = [writer(name, tmp_path, 2000) for name in ("a", "b")]
    for process in running:
        process.communicate()
        assert process.returncode == 0
    texts = [record["text"] for record in lines(tmp_path)]
    wanted = [f"{name} {number} " + "x" * 200 for name in ("a", "b") for number in range(2000)]
    assert sorted(texts) == sorted(wanted)
    assert len(list(tmp_path.glob("requests-*.jsonl"))) > 40
    found = read_log(tmp_path, limit=10_000)
    assert (len(found), found.skipped) == (4000, 0)


def test_what_a_living_process_writes_to_is_never_removed(tmp_path: Path) -> None:
    living = RequestLog(tmp_path, max_mb=0.001, files=1)
    living.write([{"text": "living"}], [ANSWER])
    (held,) = tmp_path.glob("requests-*.jsonl")
    os.utime(held, (1, 1))
    other = RequestLog(tmp_path, max_mb=0.001, files=1)
    other.write([{"text": f"other {number}"} for number in range(50)], [ANSWER] * 50)
    assert held.exists()
    living.write([{"text": "still"}], [ANSWER])
    assert [json.loads(line)["text"] for line in held.read_text().splitlines()] == ["living", "still"]


def test_a_log_whose_file_was_deleted_begins_another(tmp_path: Path) -> None:
    log = RequestLog(tmp_path)
    log.write([{"text": "gone"}], [ANSWER])
    for path in tmp_path.glob("requests-*.jsonl"):
        path.unlink()
    log.write([{"text": "there"}], [ANSWER])
    assert read_log(tmp_path).texts == ["there"]


def test_a_child_after_a_fork_writes_to_a_file_of_its_own(tmp_path: Path) -> None:
    log = RequestLog(tmp_path)
    log.write([{"text": "parent"}], [ANSWER])
    child = os.fork()
    if child == 0:
        log.write([{"text": "child"}], [ANSWER])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    log.write([{"text": "parent again"}], [ANSWER])
    kept = [
        [json.loads(line)["text"] for line in path.read_bytes().splitlines()]
        for path in tmp_path.glob("requests-*.jsonl")
    ]
    assert sorted(kept) == [["child"], ["parent", "parent again"]]


def test_a_kill_in_the_middle_costs_the_reader_one_line_at_most_and_later_rows_are_whole(
    tmp_path: Path,
) -> None:
    process = writer("a", tmp_path, 10_000_000)
    assert process.stdout is not None
    process.stdout.readline()
    while len(list(tmp_path.glob("requests-*.jsonl"))) < 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    newest = max(tmp_path.glob("requests-*.jsonl"))
    with newest.open("ab") as file:  # as a kill within the write leaves it
        file.write(b'{"time": "2026-')
    before = read_log(tmp_path, limit=10**6)
    assert before.skipped == 1
    RequestLog(tmp_path, max_mb=1).write([{"text": "after"}], [ANSWER])
    after = read_log(tmp_path, limit=10**6)
    assert (after.texts, after.skipped) == ([*before.texts, "after"], 1)
    assert "after" in newest.read_text()


FULL = """
import resource, sys
from pathlib import Path
from doubleroute.serving.log import RequestLog

log = RequestLog(Path(sys.argv[1]), redact=())
answer = {"mood": {"label": "pos", "probabilities": {"pos": 1.0}}}
log.write([{"text": "first"}], [answer])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for _ in range(3):
    log.write([{"text": "x" * 2000}], [answer])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
log.write([{"text": "last"}], [answer])
"""


def test_a_full_disk_is_told_once_leaves_no_half_line_and_writing_goes_on(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: the log of requests") == 1
    assert "answering goes on" in done.stderr
    found = read_log(tmp_path)
    assert (found.texts, found.skipped) == (["first", "last"], 0)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_folder_that_cannot_be_made_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    log = RequestLog(tmp_path / "file" / "log")
    log.write([{"text": "a"}], [ANSWER])
    log.write([{"text": "a"}], [ANSWER])
    said = capsys.readouterr().err
    assert said.count("cannot be written: Not a directory") == 1


def test_the_newest_rows_since_a_time_are_given_and_old_files_are_not_opened(tmp_path: Path) -> None:
    dated(tmp_path, "1", [("2026-01-01T00:00:00", "a"), ("2026-01-03T00:00:00", "c")])
    dated(tmp_path, "2", [("2026-01-02T00:00:00", "b"), ("2026-01-04T00:00:00", "d")])
    old = dated(tmp_path, "3", [("2025-01-01T00:00:00", "old")])
    assert read_log(tmp_path).texts == ["old", "a", "b", "c", "d"]
    assert read_log(tmp_path, limit=2).texts == ["c", "d"]
    assert read_log(tmp_path, since="2026-01-03").texts == ["c", "d"]
    assert read_log(tmp_path, since="2026-01-03T01:30:00+01:00").texts == ["d"]
    about = old.stat()
    old.write_text("not one of ours\n")
    os.utime(old, (about.st_mtime, about.st_mtime))
    assert read_log(tmp_path, since="2026-01-01").skipped == 0
    assert read_log(tmp_path, limit=4).skipped == 0
    assert read_log(tmp_path, limit=5).skipped == 1


def test_lines_that_are_none_of_ours_are_skipped_and_counted(tmp_path: Path) -> None:
    path = dated(tmp_path, "1", [("2026-01-01T00:00:00", "a")])
    good = path.read_bytes()
    wrong = [
        *(b"", b"[1]", b"\xff", b"[" * 100_000, b'{"time": 3}', good[:-3], b"x" * 20_000_001),
        *(good.replace(b'"a"', each).rstrip() for each in (b"3", b"null", b'"\\ud800"')),
        good.replace(b"2026-01-01T", b"soon").rstrip(),
        good.replace(b'{"mood"', b'{"x": 3, "mood"').rstrip(),
    ]
    path.write_bytes(b"\n".join(wrong) + b"\n" + good)
    found = read_log(tmp_path)
    assert (found.texts, found.skipped) == (["a"], len(wrong))
    assert found.places == [f"{path.name}:{len(wrong) + 1}"]


def test_no_folder_is_no_row_and_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert len(read_log(tmp_path / "none")) == 0
    (tmp_path / "requests-1.jsonl").mkdir()
    with pytest.raises(MachineError, match=r"cannot be read: .*directory"):
        read_log(tmp_path)
    with pytest.raises(InputError, match="'yesterday' is not an ISO 8601"):
        read_log(tmp_path, since="yesterday")


def test_a_file_that_rotation_removed_before_it_was_opened_holds_no_row(tmp_path: Path) -> None:
    assert list(_records(tmp_path / "requests-1.jsonl")) == []


def test_answers_lose_the_tail_of_many_labels_and_the_text_of_entities() -> None:
    labels = {f"l{number}": 1 / 60 for number in range(MOST_LABELS + 10)}
    assert short_answer({"label": "l3", "probabilities": labels}) == {
        "label": "l3",
        "probabilities": {"l3": 0.016667},
        "confidence": 0.016667,
    }
    assert short_answer({"labels": ["l1"], "probabilities": labels})["probabilities"] == {"l1": 0.016667}
    assert short_answer({"value": 2.5}) == {"value": 2.5}
    entity = {"type": "per", "start": 0, "end": 1, "text": "Ann"}
    assert short_answer({"tags": ["B-per"], "confidences": [1 / 3], "entities": [entity]}) == {
        "tags": ["B-per"],
        "confidences": [0.333333],
        "entities": [{"type": "per", "start": 0, "end": 1}],
    }


REDACTED = {
    "mail": ("to ann.b+c@mail.example.org, a@b", "to [mail], a@b"),
    "card": ("4111 1111 1111 1111 and 4111-1111-1111-1112", "[card] and 4111-1111-1111-1112"),
    "card in a run": ("no 12345 3782 822463 10005 999", "no 12345 [card] 999"),
    "phone": ("+49 30 1234567, (555) 123-4567 or 030/1234567", "[phone], [phone] or [phone]"),
    "neither": (
        "2026-01-31 10:30, 1 000 000 rows of 127.0.0.1",
        "2026-01-31 10:30, 1 000 000 rows of 127.0.0.1",
    ),
}


@pytest.mark.parametrize(("text", "wanted"), REDACTED.values(), ids=REDACTED)
def test_mail_addresses_card_and_phone_numbers_are_blotted_out(text: str, wanted: str) -> None:
    assert redactor(["mail", "card", "phone"])(text) == wanted


@pytest.mark.parametrize("part", ["a", "a@", "a.a@a.", "+", "0 ", "111 ", "0(", "@a.a"])
def test_no_text_makes_the_built_in_redactors_slow(part: str) -> None:
    text = part * (1_000_000 // len(part))
    begun = time.monotonic()
    redactor(["mail", "card", "phone"])(text)
    assert time.monotonic() - begun < 10  # of a square it would be hours


def test_texts_are_redacted_before_they_are_written_pairs_and_ids_too(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, redact=("mail", r"re:\bsecret-\w+"))
    log.write([{"text": "a@b.org secret-7 x", "text_pair": "c@d.org"}], [ANSWER], ids=["e@f.org"])
    (record,) = lines(tmp_path)
    assert (record["text"], record["text_pair"], record["id"]) == ("[mail] [redacted] x", "[mail]", "[mail]")


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ({"user": "a@b.org", "c@d.org": 7}, {"user": "[mail]", "[mail]": 7}),
        (["x", ["a@b.org", None, True]], ["x", ["[mail]", None, True]]),
        (4111111111111111, "[card]"),
        ([12, 1.5], [12, 1.5]),
    ],
)
def test_ids_that_are_no_plain_text_are_redacted_too(tmp_path: Path, known: Any, wanted: Any) -> None:
    RequestLog(tmp_path).write([{"text": "x"}], [ANSWER], ids=[known])
    (record,) = lines(tmp_path)
    assert record["id"] == wanted


def test_an_id_that_is_nested_too_deep_to_redact_is_not_written(tmp_path: Path) -> None:
    known: list[Any] = ["a@b.org"]
    for _ in range(sys.getrecursionlimit()):
        known = [known]
    RequestLog(tmp_path).write([{"text": "x"}, {"text": "y"}], [ANSWER] * 2, ids=[known, 1])
    assert [record["id"] for record in lines(tmp_path)] == [1]


def test_a_function_of_the_user_s_redacts_and_what_it_fails_on_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "def clean(text):\n    assert 'bad' not in text\n    return None if 'odd' in text else text.upper()\n"
    )
    (tmp_path / "our_redaction.py").write_text(code)
    log = RequestLog(tmp_path / "log", redact=("python:our_redaction:clean",), home=tmp_path)
    rows = [{"text": text} for text in ("good", "bad", "odd", "fine")]
    log.write(rows, [ANSWER] * 4)
    assert read_log(tmp_path / "log").texts == ["GOOD", "FINE"]
    said = capsys.readouterr().err
    assert said.count("rows that cannot be redacted are left out") == 1
    assert "bad" not in said
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("mails", "'mails' is none of mail, card, phone"),
        ("re:(", "is no regular expression"),
        ("python:no_such_module_here:f", "cannot be imported"),
        ("python:json:nothing", "has no function 'nothing'"),
        ("python:json", "is none of"),
    ],
)
def test_a_redactor_that_is_none_is_an_error_before_anything_is_written(
    tmp_path: Path, word: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        RequestLog(tmp_path, redact=(word,))


def test_the_environment_switches_the_log_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_environment({}) is None
    monkeypatch.setenv("DOUBLEROUTE_REQUEST_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("DOUBLEROUTE_REQUEST_LOG_REDACT", r'["re:a{1,2}", "mail"]')
    log = from_environment({"digest": "abc"})
    assert log is not None
    log.write([{"text": "aa b@c.org"}], [ANSWER])
    assert lines(tmp_path / "log")[0]["text"] == "[redacted] [mail]"
    assert lines(tmp_path / "log")[0]["model"] == {"version": None, "digest": "abc"}
    monkeypatch.setenv("DOUBLEROUTE_REQUEST_LOG_REDACT", "")
    plain = from_environment({})
    assert plain is not None
    plain.write([{"text": "b@c.org"}], [ANSWER])
    assert read_log(tmp_path / "log").texts[-1] == "b@c.org"
    for name, value in (("FILES", "0"), ("MAX_MB", "x"), ("MAX_MB", "nan"), ("REDACT", "[3]")):
        with monkeypatch.context() as wrong:
            wrong.setenv(f"DOUBLEROUTE_REQUEST_LOG_{name}", value)
            with pytest.raises(InputError, match=f"DOUBLEROUTE_REQUEST_LOG_{name}"):
                from_environment({})


def test_predict_writes_every_answer_with_its_id(tiny_model: Path, tmp_path: Path) -> None:
    requests = [Request(1, {"text": "a good film"}, "x7"), Request(2, {"tokens": ["a", "bad", "film"]})]
    answers = list(predict(Answerer(tiny_model, threads=1), requests, log=RequestLog(tmp_path)))
    first, second = lines(tmp_path)
    assert (first["id"], second["text"]) == ("x7", "a bad film")
    assert "id" not in second
    for record, answer in zip((first, second), answers, strict=True):
        assert set(record["answers"]) == set(answer.tasks)
        assert record["answers"]["sentiment"]["label"] == answer.tasks["sentiment"]["label"]
        assert record["answers"]["sentiment"]["probabilities"] == pytest.approx(
            answer.tasks["sentiment"]["probabilities"], abs=1e-6
        )
