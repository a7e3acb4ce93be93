"""Elementary functions for generated code: float64 in `double`, float32 in `single`, by the same names."""
