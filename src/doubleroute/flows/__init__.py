"""The only Prefect code: thin flows, one file for each job that a person asks for."""
