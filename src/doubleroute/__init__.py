"""Routed multi-task fine-tuning of one pretrained transformer, and the pipeline that keeps it good."""

__version__ = "0.1.0"
