"""What the options of compiling may be, for type checkers and editors."""

from typing import Any, Literal, TypedDict

Reduce = Literal["mean", "sum"]
Dtype = Literal["float64", "float32"]
RobustLoss = Literal["linear", "soft_l1", "huber", "cauchy", "arctan"]
Missing = Literal["drop", "raise"]


class ValueOptions(TypedDict, total=False):
    """Options of whatever compiles values, as `compile_value` explains them."""

    inputs: Any
    data: Any
    dtype: Dtype
    threads: int | None
    cache: bool
    stabilize: bool
    reroll: bool
    name: str | None
    allow_unused: bool


class LossOptions(ValueOptions, total=False):
    """Options of whatever compiles one loss, as `compile_grad` explains them."""

    reduce: Reduce
