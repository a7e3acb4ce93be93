"""Compiled derivatives beyond the gradient: Hessians, products with a vector, Jacobians, tangents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import Parameter, Signature
from typing import Any, NamedTuple

import numpy as np

from gradcompile.compiled import Compiled, grads_type
from gradcompile.diff import operators
from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.ir.core import leaf
from gradcompile.ir.types import ArrayType, dim_value
from gradcompile.once import once
from gradcompile.pipeline import Options
from gradcompile.runtime import bind
from gradcompile.runtime.matching import Call
from gradcompile.signature.arguments import Argument, Problem
from gradcompile.signature.forms import Form
from gradcompile.signature.names import Namer
from gradcompile.signature.program import size_of


class Found(NamedTuple):
    """What a kernel gave: the value that it returned, the outputs that it filled, and the lengths of dimensions."""

    value: float
    arrays: list[np.ndarray]
    lengths: Mapping[str, int]


class CompiledDerivative(Compiled):
    """A function with several outputs: called it gives all of them; `bind` fixes the inputs."""

    what = "loss"
    along = ""  # the keyword of a vector that a call takes beside its arguments

    @property
    def _inputs(self) -> tuple[Argument, ...]:
        """The inputs that a user knows; the vector of a product comes before them in the kernel."""
        return self.problem.inputs[1:] if self.along else self.problem.inputs

    @property
    def _arguments(self) -> tuple[Argument, ...]:
        return (*self.problem.params, *self._inputs)

    @once
    def signature(self) -> Signature:
        """The call's signature; the vector and `out` are given by name."""
        kinds = {False: Parameter.POSITIONAL_OR_KEYWORD, True: Parameter.KEYWORD_ONLY}
        own = [Parameter(a.name, kinds[a.by_name]) for a in self._arguments]
        return Signature([*own, *([Parameter(self.along, Parameter.KEYWORD_ONLY)] if self.along else [])])

    @once
    def _takes(self) -> Call:
        return Call(self._arguments)

    def __call__(self, /, *args: Any, out: Sequence[np.ndarray] | None = None, **named: Any) -> Any:
        """All outputs at these arguments. out: a tuple of vectors or arrays that they are written into."""
        vector = self._given_vector(named)
        values = bind.convert_all(self._arguments, self._takes.match(args, named))
        count = len(self.problem.params)
        theta = bind.packed(self.problem.params, values[:count], self.dtype)
        return self._formed(self._at(theta, [*vector, *values[count:]], out))

    def _given_vector(self, named: dict[str, Any]) -> list[np.ndarray]:
        """The vector of a call, as theta lies: given like that, or in the parameters' form."""
        if not self.along:
            return []
        if self.along not in named:
            raise ArgumentTypeError(
                f"{self.along}= is missing: the direction, a vector of {self.size} numbers laid out as f.pack lays out "
                "the parameters, or a value for each parameter"
            )
        return [self._as_vector(named.pop(self.along))]

    def _as_vector(self, given: Any) -> np.ndarray:
        if isinstance(given, np.ndarray) and given.ndim == 1 and len(given) == self.size:
            return bind.convert_theta(given, self.size, np.dtype(self.dtype))
        if isinstance(given, Mapping):
            return self.pack(*Call(self.problem.params).match((), given))
        if isinstance(given, list | tuple) and len(given) == len(self.problem.params):
            return self.pack(*given)
        if self.problem.bare:
            return self.pack(given)
        return bind.convert_theta(given, self.size, np.dtype(self.dtype))

    def _at(self, theta: np.ndarray, inputs: list[Any], out: Sequence[np.ndarray] | None = None) -> Found:
        """All outputs at theta, for converted inputs."""
        route = self._route
        route.check(inputs)
        lengths = self._demands.lengths_of(inputs)
        arrays = bind.outputs([(o.name, dim_value(o.size, lengths)) for o in self._outputs], self.dtype, out)
        if out is not None:
            for array in arrays:
                bind.check_apart(array, [a.name for a in self.problem.inputs], inputs)
        return Found(route.choose(inputs)(theta, *arrays, *inputs), arrays, lengths)

    @property
    def _outputs(self) -> Sequence[Any]:
        return self._derivation.derived.outputs

    def _formed(self, found: Found, flat: bool = False) -> Any:
        """What a call returns; flat: the gradient as one vector."""
        raise NotImplementedError

    @once
    def _grads(self) -> Any:
        return grads_type(tuple(a.name for a in self.problem.params))

    def _by_parameter(self, vector: np.ndarray, flat: bool) -> Any:
        """A vector laid out as theta, by parameter unless it is to be flat."""
        if flat:
            return vector
        parts = bind.split(self.problem.params, vector)
        return parts[0] if self.problem.bare else self._grads(*parts)

    @property
    def _is_number(self) -> bool:
        """Whether theta is one bare number, which gets no axis of its own."""
        return self.problem.bare and not self.problem.params[0].leaf.type.shape

    def bind(self, /, *inputs: Any, **named: Any) -> "BoundDerivative":
        """Check and convert the inputs once; the result is a function of theta with views for SciPy."""
        values = Call(self._inputs, "f.bind(").match(inputs, named)
        return BoundDerivative(self, bind.fixed(bind.convert_all(self._inputs, values)))


class CompiledHessian(CompiledDerivative):
    """A compiled loss with gradient and Hessian: h(*params, *inputs) -> (loss, grads, hess)."""

    operator = staticmethod(operators.hessian)

    def _formed(self, found: Found, flat: bool = False) -> Any:
        grad, hess = found.arrays
        whole = float(hess[0]) if self._is_number and not flat else hess.reshape(self.size, self.size)
        return found.value, self._by_parameter(grad, flat), whole


class CompiledHvp(CompiledDerivative):
    """A compiled loss with gradient and Hessian times a vector: p(*args, vector=v) -> (loss, grads, hv)."""

    operator = staticmethod(operators.hessian_product)
    along = "vector"

    def _formed(self, found: Found, flat: bool = False) -> Any:
        grad, hv = found.arrays
        return found.value, self._by_parameter(grad, flat), float(hv[0]) if self._is_number and not flat else hv


class CompiledForm(CompiledDerivative):
    """Values in the form they were given in, each with something beside it."""

    what = "value"

    def __init__(self, problem: Problem, options: Options, form: Form | None = None) -> None:
        super().__init__(problem, options)
        self.form = form

    def _in_form(self, values: Sequence[Any]) -> Any:
        return values[0] if self.form is None else self.form.filled(iter(values))

    def _shapes(self, lengths: Mapping[str, int]) -> list[tuple[int, ...]]:
        return [tuple(dim_value(d, lengths) for d in p.type.shape) for p in self.problem.primals]

    def _parted(self, vector: np.ndarray, lengths: Mapping[str, int], more: tuple[int, ...]) -> list[Any]:
        """An output by value, each of its shape and of so many entries for each of its own."""
        shapes = self._shapes(lengths)
        if operators.is_by_sample(self.problem, self.problem.primals):
            rows = vector.reshape(-1, len(shapes), *more)
            return [rows[:, k] for k in range(len(shapes))]
        sizes = [int(np.prod(shape + more, dtype=int)) for shape in shapes]
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        found = [p.reshape(shape + more) for p, shape in zip(parts, shapes, strict=True)]
        return [p if p.shape else float(p) for p in found]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self), (self.problem, self.options, self.form)


class CompiledValues(CompiledForm):
    """Several compiled values: f(*params, *inputs) -> the values in the form in which they were given."""

    operator = staticmethod(operators.value)

    def _formed(self, found: Found, flat: bool = False) -> Any:
        (out,) = found.arrays
        return self._in_form(self._parted(out, found.lengths, ()) if len(out) else [found.value])


class CompiledJacobian(CompiledForm):
    """Compiled values with their Jacobian in theta: j(*params, *inputs) -> (r, J)."""

    operator = staticmethod(operators.jacobian)

    def _formed(self, found: Found, flat: bool = False) -> Any:
        out, jac = found.arrays
        more = () if self._is_number and not flat else (self.size,)
        values, rows = self._parted(out, found.lengths, ()), self._parted(jac, found.lengths, more)
        return self._in_form(values), self._in_form(rows)


class CompiledJvp(CompiledForm):
    """Compiled values with their derivative along a tangent: t(*args, tangent=v) -> (value, tangent)."""

    operator = staticmethod(operators.tangent)
    along = "tangent"

    def _formed(self, found: Found, flat: bool = False) -> Any:
        out, tangent = found.arrays
        values = self._parted(out, found.lengths, ()) if len(out) else [found.value]
        return self._in_form(values), self._in_form(self._parted(tangent, found.lengths, ()))


class BoundDerivative:
    """A compiled derivative with its inputs fixed, called with theta; its views share one evaluation at one theta."""

    def __init__(self, compiled: CompiledDerivative, inputs: list[Any]) -> None:
        self.compiled, self.inputs = compiled, inputs
        self._theta: np.ndarray | None = None
        self._vector: np.ndarray | None = None
        self._found: Any = None

    def __call__(self, theta: Any, vector: Any = None) -> Any:
        """All outputs at theta, a vector as `pack` lays it out: with the gradient flat."""
        f = self.compiled
        theta = bind.convert_theta(theta, f.size, np.dtype(f.dtype))
        along = [] if not f.along else [f._as_vector(np.zeros(f.size) if vector is None else vector)]
        same = self._theta is not None and np.array_equal(self._theta, theta)
        if not same or (along and not np.array_equal(self._vector, along[0])):  # type: ignore[arg-type]
            self._found = f._formed(f._at(theta, [*along, *self.inputs]), flat=True)
            self._theta, self._vector = theta.copy(), along[0].copy() if along else None
        return self._found

    def fun(self, theta: Any) -> Any:
        """The loss, or the values."""
        return self(theta)[0]

    def jac(self, theta: Any) -> Any:
        """The gradient, or the Jacobian."""
        return self(theta)[1]

    def value_and_grad(self, theta: Any) -> Any:
        """The loss and its gradient."""
        return self(theta)[:2]

    def hess(self, theta: Any) -> Any:
        """The Hessian."""
        if not isinstance(self.compiled, CompiledHessian):
            raise ArgumentError("this has no Hessian: compile it with compile_hessian")
        return self(theta)[2]

    def hessp(self, theta: Any, vector: Any) -> Any:
        """The Hessian times a vector."""
        if isinstance(self.compiled, CompiledHessian):
            return self(theta)[2] @ np.asarray(vector)
        if not isinstance(self.compiled, CompiledHvp):
            raise ArgumentError("this has no product with the Hessian: compile it with compile_hvp")
        return self(theta, vector)[2]


def with_vector(problem: Problem, name: str) -> Problem:
    """The problem with a vector like theta as its first input."""
    size = sum(size_of(a.leaf.type.shape) for a in problem.params)
    own = Namer([a.name for a in (*problem.params, *problem.inputs)])(name)
    n = leaf(own, ArrayType((size,), problem.dtype))
    return replace(problem, inputs=(Argument(own, own, n, None, ()), *problem.inputs), names={**problem.names, n: own})
