"""SymPy in and out: scalars, matrices, index notation."""
