"""How each family of ops becomes loops and calls."""
