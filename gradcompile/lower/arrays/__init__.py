"""Programs over arrays: blocks of samples, stages of loops and matrix products, and where everything stands."""
