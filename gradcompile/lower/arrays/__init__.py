"""Lowering of array programs: one axis, the samples, in blocks; what a block computes, in stages."""
