"""The graph: records of ops, interned nodes, types, and the walks over them."""
