"""Nests of loops over elementwise work, and the order of what is written."""
