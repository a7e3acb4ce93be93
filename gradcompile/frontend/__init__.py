"""What turns formulas into graphs: SymPy expressions and text."""
