"""What a compiled function takes: its arguments and their names."""
