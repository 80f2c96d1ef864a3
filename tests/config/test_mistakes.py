"""Every mistake in project.yaml is reported at once: where it is, and what would be right."""

from pathlib import Path

import pytest
from project_files import HEAD, MINIMAL, mistakes

ROUTERS = "'none', 'linear', 'mlp', 'pooled', 'layers', 'transformer', 'language_model', 'experts' or 'stack'"

#: What stands in the file besides MINIMAL, and the one line that the error must hold.
ONE_MISTAKE = {
    "misspelt key": ("sed: 3", "line 4: sed: unknown key; did you mean 'seed'?"),
    "key of another section": (
        "epochs: 3",
        "line 4: epochs: unknown key; known here: name, seed, backbone, router, tasks, validation, training, "
        "evaluation, promotion, drift, retraining, review, serving, workspace; 'epochs' belongs into "
        "training",
    ),
    "key of another router": (
        "router: {kind: linear, experts: 3}",
        "line 4: router.experts: unknown key; known here: kind, learning_rate; "
        "'experts' belongs into router of kind experts",
    ),
    "misspelt key of a router": (
        "router: {kind: experts, tao: 3}",
        "line 4: router.tao: unknown key; did you mean 'tau'?",
    ),
    "repeated key": ("name: other", "line 4: name: stands twice, first in line 1; keep one"),
    "misspelt router": (
        "router: {kind: expert}",
        f"line 4: router.kind: must be {ROUTERS}, not 'expert'; did you mean 'experts'?",
    ),
    "router without kind": (
        "router: {experts: 4}",
        f"line 4: router.kind: is missing; it must be {ROUTERS}",
    ),
    "router as a word": (
        "router: mlp",
        f"line 4: router: must be a section with 'kind': {ROUTERS}; write {{kind: mlp}}",
    ),
    "more chosen than there are": (
        "router: {kind: experts, top_k: 5}",
        "line 4: router.top_k: must be at most the number of experts, 4, not 5",
    ),
    "more chosen than a task has, its own included": (
        "router: {kind: experts, private: 2, top_k: 7}",
        "line 4: router.top_k: must be at most the number of experts, 6, not 7",
    ),
    "misspelt key inside a stack": (
        "router: {kind: stack, routers: [{kind: layers}, {kind: mlp, widht: 3}]}",
        "line 4: router.routers[1].widht: unknown key; did you mean 'width'?",
    ),
    "a stack of one": (
        "router: {kind: stack, routers: [{kind: layers}]}",
        "line 4: router.routers: must be a list of at least 2 routers, each a section with its kind and its "
        "own options, not a list of 1",
    ),
    "a stack with two gates": (
        "router: {kind: stack, routers: [{kind: experts}, {kind: experts}]}",
        "line 4: router.routers: holds more than one router of kind experts, whose gates no report could "
        "tell apart; give one of them more experts",
    ),
    "a stack inside a stack": (
        "router: {kind: stack, routers: [{kind: layers}, {kind: stack}]}",
        "line 4: router.routers[1].kind: must be 'linear', 'mlp', 'pooled', 'layers', 'transformer', "
        "'language_model' or 'experts', not 'stack'",
    ),
    "heads that do not divide the width": (
        "router: {kind: transformer, width: 10}",
        "line 4: router.heads: must divide the width, 10, and 4 does not",
    ),
    "jitter of a gate that reads no token": (
        "router: {kind: experts, by_token: false, jitter: 0.1}",
        "line 4: router.jitter: moves what the gate reads of a token, but by_token is false; write 0",
    ),
    "checks of a gate that is not there": (
        "router: {kind: linear}\npromotion: {router_checks: {max_dead: 0.2}}",
        "line 5: promotion.router_checks: the router, linear, has no gate to check; use kind experts, or "
        "take the checks out",
    ),
    "a key of an optional section": (
        "training: {lora: {rnak: 4}}",
        "line 4: training.lora.rnak: unknown key; did you mean 'rank'?",
    ),
    "a value of an optional section": (
        "training: {lora: {rank: 0}}",
        "line 4: training.lora.rank: must be a whole number from 1 to 1024, not 0",
    ),
    "new tasks alone, and no champion to keep": (
        "retraining: {start: pretrained, only_new_tasks: true}",
        "line 4: retraining.only_new_tasks: keeps what the champion has, but start is pretrained; write "
        "start: champion",
    ),
    "a fall of a task that is not there": (
        "retraining: {max_falls: {modo: 3}}",
        "line 4: retraining.max_falls.modo: there is no task 'modo'; there are: mood",
    ),
    "no for a boolean": (
        "router: {kind: experts, by_task: no}",
        "line 4: router.by_task: must be true or false, not 'no'; write false",
    ),
    "no for a number": (
        "training: {epochs: no}",
        "line 4: training.epochs: must be a number from 0.1 to 1000, not 'no'",
    ),
    "leading zero": (
        "seed: 010",
        'line 4: seed: 010 is read as the number 10; write 10, or "010" if it is text',
    ),
    "no time at all": (
        "training: {mode: auto, budget: 0.0m}",
        "line 4: training.budget: is no time at all; for the heads alone, which are always solved, write "
        "`mode: heads`",
    ),
    "out of range": (
        "training: {epochs: 0}",
        "line 4: training.epochs: must be a number from 0.1 to 1000, not 0",
    ),
    "fraction for a whole number": (
        "training: {batch_size: 3.5}",
        "line 4: training.batch_size: must be a whole number from 1 to 65536, not 3.5",
    ),
    "infinity": (
        "training: {learning_rate: .inf}",
        "line 4: training.learning_rate: must be a number above 0, not .inf",
    ),
    "not a number": (
        "training: {weight_decay: .nan}",
        "line 4: training.weight_decay: must be a number of at least 0, not .nan",
    ),
    "quoted number": (
        'training: {learning_rate: "3e-5"}',
        "line 4: training.learning_rate: must be a number above 0, not the text '3e-5'; leave the "
        "quotes away",
    ),
    "union, one line": (
        "training: {trainable: half}",
        "line 4: training.trainable: must be 'all', 'frozen' or a whole number of at least 1, not 'half'",
    ),
    "misspelt word of a union": (
        "training: {trainable: froze}",
        "line 4: training.trainable: must be 'all', 'frozen' or a whole number of at least 1, not 'froze'; "
        "did you mean 'frozen'?",
    ),
    "bound on a union": (
        "training: {early_stopping: 0}",
        "line 4: training.early_stopping: must be a whole number of at least 1 or null, not 0",
    ),
    "item of a list": (
        "evaluation: {baselines: [plain, frosen]}",
        "line 4: evaluation.baselines[1]: must be 'majority', 'frozen' or 'plain', not 'frosen'; "
        "did you mean 'frozen'?",
    ),
    "empty section": (
        "training:",
        "line 4: training: must be a section with the keys mode, budget, epochs, batch_size, batch_by, "
        "gradient_checkpointing, trainable, lora, optimizer, learning_rate, head_learning_rate, schedule, "
        "warmup, weight_decay, dropout, clip, label_smoothing, sampling, sampling_temperature, task_weights, "
        "gradients, early_stopping, task_early_stopping, precision, checkpoint_seconds, but nothing is given",
    ),
    "model name with a slash": (
        "promotion: {model_name: a/b}",
        "line 4: promotion.model_name: must be a name without /, : and quotes or null, not 'a/b'",
    ),
    "model name with a quote": (
        'promotion: {model_name: "it\'s"}',
        'line 4: promotion.model_name: must be a name without /, : and quotes or null, not "it\'s"',
    ),
    "pattern that cannot be read": (
        'serving: {redact: [mail, "re:["]}',
        "line 4: serving.redact: 're:[' is no regular expression: unterminated character set at position 0",
    ),
}


def test_sections_that_do_not_fit_each_other_are_all_told_at_their_lines(tmp_path: Path) -> None:
    text = "retraining:\n  max_falls: {modo: 3}\n  rows: recent\npromotion: {margins: {modo: 1, moody: 2}}\n"
    assert [
        each.partition(": ")[0] + ": " + each.split(": ")[1] for each in mistakes(tmp_path, MINIMAL + text)
    ] == [
        "line 5: retraining.max_falls.modo",
        "line 6: retraining.rows",
        "line 7: promotion.margins.modo",
        "line 7: promotion.margins.moody",
    ]


@pytest.mark.parametrize(("text", "line"), ONE_MISTAKE.values(), ids=ONE_MISTAKE)
def test_a_mistake_gets_one_line_with_place_and_remedy(tmp_path: Path, text: str, line: str) -> None:
    assert mistakes(tmp_path, f"{MINIMAL}{text}\n") == [line]


#: What stands in the task (line 4 on), and the lines that the error must hold.
IN_A_TASK = {
    "weights of labels by another word": (
        "class_weights: balancd",
        [
            "line 4: tasks.mood.class_weights: must be 'balanced', a section with a label and its weight "
            "each or null, not 'balancd'; did you mean 'balanced'?"
        ],
    ),
    "a weight of a label": (
        "class_weights: {a: 0}",
        ["line 4: tasks.mood.class_weights.a: must be a number above 0, not 0"],
    ),
    "a weight of another label, beside another mistake": (
        "labels: [a, b], class_weights: {a: 2, c: 3}, weight: 0",
        [
            "line 4: tasks.mood.class_weights: there is no label 'c'; there are: a, b",
            "line 4: tasks.mood.weight: must be a number above 0, not 0",
        ],
    ),
    "labels as numbers, bools, dates, nothing": (
        "labels: [0, yes, true, 2020-01-01, 01, ~]",
        [
            "line 4: tasks.mood.labels[0]: must be a label that is not empty, not 0; text is written in "
            'quotes: "0"',
            "line 4: tasks.mood.labels[2]: must be a label that is not empty, not true; "
            'text is written in quotes: "true"',
            "line 4: tasks.mood.labels[3]: must be a label that is not empty, not 2020-01-01; "
            'text is written in quotes: "2020-01-01"',
            "line 4: tasks.mood.labels[4]: must be a label that is not empty, not 01; "
            'text is written in quotes: "01"',
            "line 4: tasks.mood.labels[5]: must be a label that is not empty, but nothing is given",
        ],
    ),
    "one label": (
        "labels: [a]",
        ["line 4: tasks.mood.labels: must be a list of at least 2 labels or null, not a list of 1"],
    ),
    "labels twice": ("labels: [b, a, b]", ["line 4: tasks.mood.labels: stand twice: b; keep one of each"]),
    "metric of another kind": (
        "metric: mae",
        [
            "line 4: tasks.mood.metric: 'mae' does not fit kind classification; "
            "use accuracy, macro_f1, weighted_f1, mcc"
        ],
    ),
    "a head of another kind": (
        "head: {crf: true}",
        ["line 4: tasks.mood.head: crf does not fit kind classification, which has no tags; delete it"],
    ),
    "nothing left for train": (
        "split: {validation: 0.5, test: 0.5}",
        [
            "line 4: tasks.mood.split: validation 0.5 + test 0.5 must stay below 1, or nothing is left to "
            "train on"
        ],
    ),
    "misspelt section": ("colums: {}", ["line 4: tasks.mood.colums: unknown key; did you mean 'columns'?"]),
    "text for a section": (
        "columns: text",
        [
            "line 4: tasks.mood.columns: must be a section with the keys text, text_pair, label, tokens, "
            "tags, time, key, not 'text'"
        ],
    ),
    "two mistakes in two sections": (
        "head: {pooling: max, dropout: 1}",
        [
            "line 4: tasks.mood.head.dropout: must be a number of at least 0 and below 1, not 1",
            "line 4: tasks.mood.head.pooling: must be 'mean', 'first' or 'attention', not 'max'",
        ],
    ),
}


@pytest.mark.parametrize(("text", "lines"), IN_A_TASK.values(), ids=IN_A_TASK)
def test_mistakes_inside_a_task_carry_its_name(tmp_path: Path, text: str, lines: list[str]) -> None:
    task = f"tasks: {{mood: {{kind: classification, files: {{train: a.csv}},\n  {text}}}}}\n"
    assert mistakes(tmp_path, HEAD + task) == lines


@pytest.mark.parametrize("labels", ["", ", labels: [no, yes]"])
def test_an_ordinal_task_needs_its_labels_in_their_order(tmp_path: Path, labels: str) -> None:
    task = f"tasks: {{mood: {{kind: ordinal, files: {{train: a.csv}}{labels}}}}}\n"
    assert mistakes(tmp_path, HEAD + task) == [
        "line 3: tasks.mood: kind ordinal needs labels, three or more from the lowest to the highest, "
        'as in labels: ["1", "2", "3"]; two are kind classification'
    ]


RETRIEVAL = {
    "no answers": (
        "kind: retrieval",
        "kind retrieval needs a table of answers, as in answers: {file: data/answers.csv}",
    ),
    "answers of another kind": (
        "kind: classification, answers: {file: a.csv}",
        "answers does not fit kind classification; delete it, or write kind: retrieval",
    ),
}


@pytest.mark.parametrize(("text", "line"), RETRIEVAL.values(), ids=RETRIEVAL)
def test_retrieval_and_a_table_of_answers_go_together(tmp_path: Path, text: str, line: str) -> None:
    task = f"tasks: {{mood: {{{text}, files: {{train: a.csv}}}}}}\n"
    assert mistakes(tmp_path, HEAD + task) == [f"line 3: tasks.mood: {line}"]


FILES = {
    "a number": ("3", 'train: must be a file or a list of files, not 3; text is written in quotes: "3"'),
    "no file": ("[]", "train: must be a file or a list of files, not an empty list"),
    "nothing": ("", "train: must be a file or a list of files, but nothing is given"),
    "an item": ("[a, 3]", 'train[1]: must be a file, not 3; text is written in quotes: "3"'),
    "a section": ("{a: b}", "train: must be a file or a list of files, not a section of 1"),
}


@pytest.mark.parametrize(("text", "line"), FILES.values(), ids=FILES)
def test_files_are_a_file_or_a_list(tmp_path: Path, text: str, line: str) -> None:
    task = f"tasks: {{mood: {{kind: classification, files: {{train: {text}}}}}}}\n"
    assert mistakes(tmp_path, HEAD + task) == [f"line 3: tasks.mood.files.{line}"]


def test_names_that_break_the_rules_are_explained_in_words_with_one_that_keeps_them(tmp_path: Path) -> None:
    text = MINIMAL.replace("demo", "My Reviews").replace("mood", "1st Mood")
    assert mistakes(tmp_path, text) == [
        "line 1: name: must be lower-case letters, digits and hyphens, a letter or digit first, 63 at most, "
        "not 'My Reviews'; 'my-reviews' would do",
        "line 3: tasks.1st Mood: a task's name must be lower-case letters, digits and underscores, a "
        "letter first, "
        "63 at most; 'st_mood' would do",
    ]


def test_everything_missing_is_listed(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "seed: 3\n") == [
        "line 1: backbone: is missing; it must be a section with the keys source, max_tokens",
        "line 1: name: is missing; it must be lower-case letters, digits and hyphens, a letter or "
        "digit first, "
        "63 at most",
        "line 1: tasks: is missing; it must be a section with a name and a section for each task",
    ]


def test_many_mistakes_come_in_one_error_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        "name: Reviews\nseed: 010\nbackbone: {source: no, max_token: 12}\n"
        "router: {kind: expert, experts: 4}\n"
        "tasks:\n  sentiment:\n    kind: classification\n    files: {train: [data/a.csv], train: 3}\n"
        "    colums: {text: t}\n    labels: [0, 1]\n    metric: f1\n"
        "  x:\n    kind: tagging\n    files: {train: a}\n"
        "training:\n  learning_rate: 1e-4\n  epochs: no\n  trainable: half\n"
    )
    found = mistakes(tmp_path, text)
    assert [line.split(": ")[1] for line in found] == [
        "name", "seed", "backbone.max_token", "router.kind", "tasks.sentiment.files.train",
        "tasks.sentiment.colums", "tasks.sentiment.labels[0]", "tasks.sentiment.labels[1]",
        "tasks.sentiment.metric", "training.epochs", "training.trainable",
    ]  # fmt: skip


SETS = {
    "unknown key": (
        "training.lerning_rate=1",
        "training.lerning_rate: unknown key; did you mean 'learning_rate'?",
    ),
    "unknown section": (
        "trainin.epochs=1",
        "trainin: unknown key; did you mean 'training'?",
    ),
    "leading zero": ("seed=010", 'seed: 010 is read as the number 10; write 10, or "010" if it is text'),
    "out of range": ("training.epochs=0", "training.epochs: must be a number from 0.1 to 1000, not 0"),
    "no value": (
        "training.epochs=",
        "training.epochs: must be a number from 0.1 to 1000, but nothing is given",
    ),
    "not an assignment": ("epochs", "'epochs' is not KEY.PATH=VALUE, as in training.epochs=1"),
    "into a scalar": ("name.first=a", "name.first: 'name' is not a section of project.yaml"),
    "no YAML": (
        "seed=[1",
        "seed: '[1' is not valid YAML: expected ',' or ']', but got '<stream end>'",
    ),
}


@pytest.mark.parametrize(("change", "line"), SETS.values(), ids=SETS)
def test_a_wrong_set_is_explained_like_a_wrong_file(tmp_path: Path, change: str, line: str) -> None:
    assert mistakes(tmp_path, MINIMAL, change) == [f"--set {line}"]


SPAN = {
    "no context": (
        "columns: {text: question, label: answers}",
        ": kind span needs a question and its context, as in "
        "columns: {text: question, text_pair: context, label: answers}",
    ),
    "labels": (
        "columns: {text_pair: context}, labels: [a, b]",
        ".labels: does not fit kind span, whose labels are places in a context; delete it",
    ),
    "weights of labels": (
        "columns: {text_pair: context}, class_weights: balanced",
        ".class_weights: do not fit kind span, but classification, multilabel, tagging; delete them",
    ),
}


@pytest.mark.parametrize(("text", "line"), SPAN.values(), ids=SPAN)
def test_a_span_task_has_a_context_and_no_classes(tmp_path: Path, text: str, line: str) -> None:
    task = f"tasks: {{qa: {{kind: span, files: {{train: a.csv}}, {text}}}}}\n"
    assert mistakes(tmp_path, HEAD + task) == [f"line 3: tasks.qa{line}"]


def test_options_of_windows_fit_span_alone(tmp_path: Path) -> None:
    task = "tasks: {mood: {kind: classification, files: {train: a.csv}, head: {overlap: 8}}}\n"
    assert mistakes(tmp_path, HEAD + task) == [
        "line 3: tasks.mood.head: overlap does not fit kind classification, which reads no context; delete it"
    ]


def test_a_task_may_not_have_a_name_that_tools_have_taken(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, MINIMAL.replace("mood:", "data_docs:"))
    assert "tasks.data_docs: Great Expectations' pages have this name; give the task another" in mistake
    (mistake,) = mistakes(tmp_path, MINIMAL.replace("mood:", "type:"))
    assert "tasks.type: PyTorch's containers have something of this name; give the task another" in mistake
