"""Optimisers as pairs of init and update, under optax's names; `train` and `minimize` run them."""

from gradcompile.optim.family import (
    adadelta,
    adagrad,
    adam,
    adamw,
    add_decayed_weights,
    amsgrad,
    average,
    clip,
    clip_by_block_norm,
    clip_by_global_norm,
    lamb,
    lion,
    muon,
    nadam,
    radam,
    rmsprop,
    scale,
    schedule_free_adamw,
    sgd,
)
from gradcompile.optim.rules import Rule, accumulate, chain, per_parameter, rule
from gradcompile.optim.schedules import (
    constant_schedule,
    cosine_decay_schedule,
    cosine_onecycle_schedule,
    exponential_decay,
    linear_schedule,
    piecewise_constant_schedule,
    reduce_on_plateau,
    warmup_cosine_decay_schedule,
)

__all__ = [
    "Rule", "accumulate", "adadelta", "adagrad", "adam", "adamw", "add_decayed_weights", "amsgrad", "average", "chain",
    "clip", "clip_by_block_norm", "clip_by_global_norm", "constant_schedule", "cosine_decay_schedule",
    "cosine_onecycle_schedule", "exponential_decay", "lamb", "linear_schedule", "lion", "muon", "nadam",
    "per_parameter", "piecewise_constant_schedule", "radam", "reduce_on_plateau", "rmsprop", "rule", "scale",
    "schedule_free_adamw", "sgd", "warmup_cosine_decay_schedule",
]  # fmt: skip
