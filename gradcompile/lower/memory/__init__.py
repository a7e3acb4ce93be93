"""Where arrays stand, and how their entries are read and written."""
