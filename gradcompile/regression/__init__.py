"""Fits of formulas to data: what is asked for, the search, the statistics of what was found."""
