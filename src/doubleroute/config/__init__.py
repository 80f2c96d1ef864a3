"""project.yaml: what it may say (models), how it is read (reader), and the reference of it."""

from doubleroute.config.keeping import Drift, Promotion, Retraining, Review, Serving
from doubleroute.config.kinds import LOWER_IS_BETTER, METRICS, NAMELESS
from doubleroute.config.lora import Lora
from doubleroute.config.models import Backbone, Evaluation, Project, Validation
from doubleroute.config.reader import check_folder, load_project
from doubleroute.config.reference import json_schema
from doubleroute.config.routers import ExpertsRouter, LinearRouter, MlpRouter, NoRouter, Router
from doubleroute.config.tasks import SPLITS, Columns, Files, Head, Split, Task
from doubleroute.config.training import Training

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "NAMELESS",
    "SPLITS",
    "Backbone",
    "Columns",
    "Drift",
    "Evaluation",
    "ExpertsRouter",
    "Files",
    "Head",
    "LinearRouter",
    "Lora",
    "MlpRouter",
    "NoRouter",
    "Project",
    "Promotion",
    "Retraining",
    "Review",
    "Router",
    "Serving",
    "Split",
    "Task",
    "Training",
    "Validation",
    "check_folder",
    "json_schema",
    "load_project",
]
