"""What commands print for people."""

from collections.abc import Mapping
from typing import Any

import typer

from doubleroute.console import Terminal


def show_answers(terminal: Terminal, answers: Mapping[str, Mapping[str, Any]]) -> None:
    """The answers to one text for people: a line a task, what is answered first, and behind one label the
    likeliest others."""
    for task, answer in answers.items():
        if "value" in answer:
            said = f"{answer['value']:.3f}"
        elif "answer" in answer:
            said = f"{answer['answer'] or 'no answer'} ({answer['confidence']:.2f})"
        elif "answers" in answer:
            best = answer["answers"][:3]
            said = "; ".join(f"{each.get('text') or each['id']} ({each['score']:.2f})" for each in best)
        elif "probabilities" in answer:
            chances = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
            if "labels" in answer:
                chosen = [each for each in chances if each[0] in answer["labels"]]
            else:  # of an order the median label is answered, which need not be the likeliest
                chosen = sorted(chances, key=lambda item: item[0] != answer["label"])[:3]
            said = ", ".join(f"{label} {chance:.2f}" for label, chance in chosen) or "none"
        else:
            said = ", ".join(f"{each['text']} ({each['type']})" for each in answer["entities"]) or "nothing"
        print(f"{task}: {said}", file=terminal.out)


#: Columns of a table of experts; with more, those that carry most are shown.
_EXPERTS = 8


def show_way(terminal: Terminal, explanation: Mapping[str, Any]) -> None:
    """Which experts each token of one text went through, a table for each task, and the mixture of layers."""
    for task, gate in explanation.get("tasks", {}).items():
        names, weights = explanation["experts"], gate["weights"]
        load = [sum(token[place] for token in weights) for place in range(len(names))]
        chosen = sorted(sorted(range(len(names)), key=lambda place: -load[place])[:_EXPERTS])
        rows = [
            (name, names[max(range(len(names)), key=token.__getitem__)], *(f"{token[e]:.2f}" for e in chosen))
            for name, token in zip(gate.get("tokens", explanation["tokens"]), weights, strict=True)
        ]
        if gate["task"] is not None:
            by_task = gate["task"]
            most = names[max(range(len(names)), key=by_task.__getitem__)]
            rows.append(("(the task alone)", most, *(f"{by_task[place]:.2f}" for place in chosen)))
        shown = "" if len(chosen) == len(names) else f", the {len(chosen)} of {len(names)} that carry most"
        print(f"\n{task}: weights of the experts{shown}", file=terminal.out)
        header = ("token", "most", *(names[place] for place in chosen))
        terminal.table(header, rows, words=2, asked=True)
    mixture = explanation.get("layers")
    if mixture:
        said = "weights of the layers, the same for every token of a task; strength: of their mixture"
        print(f"\n{said}", file=terminal.out)
        tasks = mixture["tasks"].values()
        rows = [
            (name, *(f"{each['weights'][place]:.2f}" for each in tasks))
            for place, name in enumerate(mixture["layers"])
        ]
        rows.append(("strength", *(f"{each['strength']:+.3f}" for each in tasks)))
        terminal.table(("layer", *mixture["tasks"]), rows, asked=True)


def show_stages(terminal: Terminal, result: dict[str, Any]) -> None:
    """One line a stage: reused, or how long it took."""
    for stage in result["stages"]:
        took = "reused" if stage["reused"] else f"{stage['seconds']:.1f} s"
        terminal.line(f"{stage['name']:<12} {took}")
    terminal.line(f"{'all':<12} {result['seconds']:.1f} s")


def show_scores(terminal: Terminal, result: dict[str, Any]) -> None:
    """Rows in and out, the score table, a verdict for each task, and where the report lies."""
    from doubleroute.integrations.validation import summary_lines
    from doubleroute.reports.tables import cut_texts, score_rows

    terminal.line()
    for line in summary_lines({"tasks": result["counts"]}) + cut_texts(result["evaluation"]):
        terminal.line(line)
    for task, count in result.get("kept_out", {}).items():
        terminal.line(f"{task}: {count} rows were test rows of the champion and stay out of training")
    header, rows = score_rows(result["evaluation"])
    terminal.line()
    terminal.table(header, rows, words=3)
    terminal.line()
    for verdict in result["verdicts"]:
        terminal.line(verdict)
    terminal.line(f"report: {result['report']}")


def show_decision(terminal: Terminal, version: str, decision: Mapping[str, Any]) -> None:
    """What the promotion gate made of a version ("version 2 of NAME"), and its reasons."""
    from doubleroute.promotion import NO_CHAMPION

    first, *others = decision["reasons"]
    said = {
        "promote": f"{version} is champion now",
        "refuse": f"{version} is refused; the champion stays",
        "cannot tell": f"{version} stays challenger: nothing shows that it is the better one",
    }
    special = {
        ("promote", NO_CHAMPION): f"{version} is champion: there was none before",
        ("refuse", NO_CHAMPION): f"{version} is refused: it is no champion, and there is none",
        (
            "promote",
            "this very model is the champion already",
        ): f"{version} is champion already: it is this very model",
    }
    key = (decision["verdict"], first)
    terminal.line(special.get(key, said[decision["verdict"]]))
    for reason in others if key in special else decision["reasons"]:
        terminal.line(f"  {reason}")


def end_if_refused(terminal: Terminal, decision: Mapping[str, Any]) -> None:
    """Say that the promotion gate refused, and end with exit code 3."""
    from doubleroute.promotion import NO_CHAMPION

    if decision["verdict"] == "refuse":
        stays = (
            "there is still no champion" if decision["reasons"][0] == NO_CHAMPION else "the champion stays"
        )
        terminal.note(f"error: the promotion gate refused the new version; {stays}")
        raise typer.Exit(3)
