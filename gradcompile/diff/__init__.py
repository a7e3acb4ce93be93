"""Derivatives: of a graph, of a loop, and what keeps them true where branches and infinite slopes are."""
