"""Whether data moved, what moved, and what to do about it: numbers in, numbers and reasons out."""
