"""Loop IR, and the Python text that is printed from it."""
