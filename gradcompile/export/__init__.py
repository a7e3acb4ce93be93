"""A compiled function as a file of its own."""
