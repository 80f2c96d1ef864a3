"""What a change of the data does: rows that changed, what is wrong with them, what they do to each score.

Pure functions of two versions' rows, of embeddings and of answers that others give; no torch, no store.
"""
