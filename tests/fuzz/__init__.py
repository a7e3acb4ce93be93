"""Machines that look for wrong numbers: `python -m tests.fuzz NAME --seed S --count N`; see `tests/fuzz/run.py`."""
