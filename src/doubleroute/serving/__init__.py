"""Answering: requests from files and streams (predictor) and MLflow's server (model_from_code)."""
