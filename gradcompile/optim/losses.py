"""What an optimiser's loop evaluates: the kernel of a compiled loss with its data, or a loss that Python evaluates."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradcompile.codegen.values import Kind
from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.ir.core import leaf
from gradcompile.ir.types import ArrayType
from gradcompile.once import once
from gradcompile.optim.given import arranged, in_order
from gradcompile.optim.parts import Vector
from gradcompile.optim.sources import InParts
from gradcompile.runtime import bind
from gradcompile.runtime.matching import Call
from gradcompile.signature.arguments import Argument

Loop = Callable[..., int]


class Parameters:
    """The parameters of a loss: how they lie in theta, and how they are given."""

    def __init__(self, params: Sequence[Argument]) -> None:
        self.params, self.takes, self.places = params, Call(params, "params("), bind.places_of(params)
        self.kept: list[Any] = []  # memory of searches that have ended, for others to come
        self.alone: Kernel | None = None  # the kernel, where it has no data

    def packed(self, given: Any) -> Vector:
        """Theta, from what was given."""
        theta = np.empty(self.places[-1][1])
        for a, v, (start, stop, shape) in zip(
            self.params, in_order(given, self.takes, "params"), self.places, strict=True
        ):
            value = bind.convert(a, v)
            theta[start:stop] = value.ravel() if shape else value
        return theta

    def arranged(self, given: Any, theta: Vector) -> Any:
        """Theta, in the arrangement of what was given; it shares its memory."""
        parts = bind.split_at(self.places, theta)
        return list(parts) if type(given) is list else arranged(self.takes, given, parts)


class Kernel:
    """A compiled loss with its data: code(theta, *outputs, *inputs) -> loss."""

    def __init__(self, f: Any, inputs: Sequence[Any], parameters: Parameters) -> None:
        self.f, self.inputs, self.route, self.parameters = f, inputs, f._route, parameters

    @once
    def code(self) -> Callable[..., float]:
        """code(theta, *outputs, *inputs) -> loss."""
        along = [np.zeros(self.f.size)] * (len(self.route.inputs) - len(self.inputs))
        self.route.check([*along, *self.inputs])
        found: Callable[..., float] = self.route.choose([*along, *self.inputs])
        return found

    def curved(self, what: str) -> "Kernel":
        """The same with the Hessian, or with its products, the direction of which is the kernel's first input."""
        return Kernel(getattr(self.f, what), self.inputs, self.parameters)

    def loop(self, step: Any, state: Sequence[Kind]) -> Loop | None:
        """The kernel in turn with a step in one call of machine code, where that can be."""
        return self.route.stepping(step, state) if self.code is self.route.serial else None


class Outside:
    """A loss that Python evaluates: v(*params) -> (loss, grads), and v.shapes, the parameters' shapes by name.

    Parameters come as floats, or as arrays of their shape, in the order of `v.shapes`; so do the gradients go back, or
    by name. A search over it has the bits of one over a kernel, if v has them.
    """

    f = None  # there is no compiled loss
    inputs: Sequence[Any] = ()
    dtype, is_compiled = "float64", False

    def __init__(self, v: Any) -> None:
        self.v, self._route = v, self
        if hasattr(v, "partition"):
            params = v.problem.params
        else:
            types = {name: ArrayType(tuple(map(int, shape)), "float64") for name, shape in v.shapes.items()}
            params = [Argument(name, name, leaf(name, type, "param"), None, ()) for name, type in types.items()]
        self.parameters = Parameters(params)
        if not params:
            raise ArgumentError("v.shapes is empty: a loss needs a parameter at least")
        self.problem = SimpleNamespace(params=params, inputs=[])

    def code(self, theta: Vector, gradient: Vector) -> float:
        """Loss and gradient, as a kernel gives them."""
        found = self.v(*bind.split_at(self.parameters.places, theta.copy()))
        if not (isinstance(found, tuple | list) and len(found) == 2):
            raise ArgumentTypeError(f"a loss that Python evaluates returns (loss, grads), got a {type(found).__name__}")
        loss, grads = found
        gradient[:] = self.parameters.packed(grads)
        return float(np.asarray(loss).item())

    def curved(self, what: str) -> Kernel:
        """It has no second derivatives."""
        raise ArgumentError(
            "Newton-CG and trust-exact need second derivatives, which this loss has not: choose 'L-BFGS'"
        )

    def loop(self, step: Any, state: Sequence[Kind]) -> None:
        """There is none."""

    def choose(self, _: Sequence[Any]) -> Callable[..., float]:
        """What evaluates it."""
        return self.code

    def check(self, _: Sequence[Any]) -> None:
        """It checks what it is given."""

    def bind(self, **_: Any) -> Callable[[Vector], tuple[float, Vector]]:
        """Loss and gradient of theta."""
        gradient = np.empty(self.parameters.places[-1][1])
        return lambda theta: (self.code(theta, gradient), gradient)


def around(f: Any, data: Any) -> Any:
    """The loss as `train` asks it, be it compiled, in partitions, or evaluated by Python, with data of its own."""
    if hasattr(f, "partition"):
        return InParts(f)
    if hasattr(f, "flat"):
        return f
    if not (hasattr(f, "shapes") and callable(f)):
        raise ArgumentTypeError("train takes what compile_grad returns, or a loss that Python evaluates: v(*params)"
                                f" -> (loss, grads) with v.shapes; got a {type(f).__name__}")  # fmt: skip
    without_data(data)
    return Outside(f)


def without_data(data: Any) -> None:
    """Raise unless nothing is given."""
    if not (hasattr(data, "__len__") and len(data) == 0):
        raise ArgumentError("data: this loss is evaluated by Python, and has its data; leave it out")


def loss_of(f: Any, data: Any) -> Kernel | Outside:
    """What evaluates a loss with its data; ArgumentTypeError for what is none that can be minimised."""
    if hasattr(f, "shapes") and callable(f):
        without_data(data)
        return Outside(f)
    if not hasattr(f, "flat") or f.dtype != "float64":
        if hasattr(f, "flat"):
            where = "make its arrays" if f.problem.arrays else "compile it"  # arrays bring their dtype along
            raise ArgumentTypeError(f"minimize searches in float64, and this loss is in {f.dtype}, in which small "
                                    f"steps are lost; {where} with dtype='float64', or train it")  # fmt: skip
        raise ArgumentTypeError("minimize takes what compile_grad returns, or a loss that Python evaluates: "
                                f"v(*params) -> (loss, grads) with v.shapes; got a {type(f).__name__}")  # fmt: skip
    takes, parameters = f.problem.inputs, parameters_of(f)
    if not takes and len(data) == 0:
        parameters.alone = parameters.alone or Kernel(f, (), parameters)
        return parameters.alone
    return Kernel(f, bind.fixed(bind.convert_all(takes, in_order(data, Call(takes), "data"))), parameters)


def parameters_of(f: Any) -> Parameters:
    """Those of a compiled loss, made once."""
    kept: dict[str, Parameters] = f._kept
    found = kept.get("parameters")
    if found is None:
        found = kept["parameters"] = Parameters(f.problem.params)
    return found
