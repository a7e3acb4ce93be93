"""What is known of a graph without running it compiled: its cost, its bounds, its values, its text."""
