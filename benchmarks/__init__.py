"""Loss and gradient side by side with the peers that are installed: python -m benchmarks, from the root of a clone."""
