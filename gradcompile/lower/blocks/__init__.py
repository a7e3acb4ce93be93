"""Which samples are computed at a time, and what of the graph each pass over them computes."""
