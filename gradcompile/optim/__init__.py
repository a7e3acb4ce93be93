"""Optimisers as pairs of init and update, and the loop that trains with them."""

from gradcompile.optim.loop import TrainingResult, sgd
from gradcompile.optim.minimizer import minimize
from gradcompile.optim.rules import Rule, chain, clip_by_norm, momentum, scale

__all__ = ["Rule", "TrainingResult", "chain", "clip_by_norm", "minimize", "momentum", "scale", "sgd"]
