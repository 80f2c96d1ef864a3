"""The kinds of tasks, as project.yaml knows them: their names, their metrics, and which labels look alike."""

from typing import Literal

Kind = Literal["classification", "multilabel", "ordinal", "regression", "retrieval", "span", "tagging"]

#: The metrics that a kind can be judged by; the first is its default.
METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1", "weighted_f1", "mcc"),
    "multilabel": ("micro_f1", "macro_f1", "subset_accuracy"),
    "ordinal": ("quadratic_kappa", "mae", "accuracy"),
    "regression": ("spearman", "pearson", "mae", "rmse"),
    "retrieval": ("mrr_at_10", "recall_at_1", "recall_at_5"),
    "span": ("answer_f1", "exact_match"),
    "tagging": ("entity_f1", "token_accuracy", "token_macro_f1"),
}
#: Kinds whose labels can weigh differently in the loss.
CLASSES = ("classification", "multilabel", "tagging")
#: Kinds whose heads are linear models, which ``heads.solve`` fits.
LINEAR = ("classification", "multilabel", "regression", "tagging")
#: Kinds whose labels look like those of another: for the checks of the data and for a review it is that one.
LABELLED_AS = {"ordinal": "classification", "retrieval": "classification"}
#: Kinds whose labels name nothing: there is no list of them, and no rows of each to count.
NAMELESS = ("regression", "span")
#: Metrics of which less is better.
LOWER_IS_BETTER = frozenset({"mae", "rmse"})
