"""Compiled derivatives beyond the gradient: Hessians, products with a vector, Jacobians, tangents."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from inspect import Parameter, Signature
from typing import Any, NamedTuple

import numpy as np

from gradcompile.compiled import Compiled, grads_type
from gradcompile.diff import operators
from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.ir.core import leaf
from gradcompile.ir.types import ArrayType, Dim, dim_value
from gradcompile.once import once
from gradcompile.pipeline import Options
from gradcompile.runtime import bind
from gradcompile.runtime.matching import Call
from gradcompile.signature.arguments import Argument, Problem
from gradcompile.signature.forms import Form
from gradcompile.signature.names import Namer
from gradcompile.signature.program import Output, size_of


class Found(NamedTuple):
    """What a kernel gave: the value that it returned, the outputs that it filled, and the lengths of dimensions."""

    value: float
    arrays: list[np.ndarray]
    lengths: Mapping[str, int]


class Run(NamedTuple):
    """Machine code for some inputs, the names and lengths of what it fills, and the lengths of dimensions."""

    code: Callable[..., float]
    sizes: list[tuple[str, int]]
    lengths: Mapping[str, int]

    def __call__(self, theta: np.ndarray, arrays: list[np.ndarray], inputs: Sequence[Any]) -> Found:
        """What it gives."""
        return Found(self.code(theta, *arrays, *inputs), arrays, self.lengths)


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
        run = self._prepared(inputs)
        arrays = bind.outputs(run.sizes, self.dtype, out)
        if out is not None:
            for array in arrays:
                bind.check_apart(array, [a.name for a in self.problem.inputs], inputs)
        return run(theta, arrays, inputs)

    def _prepared(self, inputs: list[Any]) -> "Run":
        """The way for converted inputs, which are checked."""
        route = self._route
        route.check(inputs)
        lengths = self._demands.lengths_of(inputs)
        sizes = [(name, d if type(d) is int else dim_value(d, lengths)) for name, d in self._sizes]
        return Run(route.choose(inputs), sizes, lengths)

    @property
    def _outputs(self) -> Sequence[Output]:
        return self._derivation.derived.outputs

    @once
    def _sizes(self) -> list[tuple[str, Dim]]:
        return [(o.name, o.size) for o in self._outputs]

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

    def __init__(self, problem: Problem, options: Options, layout: operators.Layout = "dense") -> None:
        super().__init__(problem, options)
        self.layout = layout
        self.operator = partial(operators.hessian, layout=layout)

    @once
    def sparsity(self) -> Any:
        """Where the Hessian may be other than 0: a sparse matrix of ones, with the index arrays of each result."""
        return sparsity_of(self._outputs[1], self.dtype, "the Hessian")

    def _formed(self, found: Found, flat: bool = False) -> Any:
        grad, hess = found.arrays
        grads = self._by_parameter(grad, flat)
        if self.layout == "sparse":
            return found.value, grads, with_data(self.sparsity, self._outputs[1], hess)
        if self._is_number and not flat:
            return found.value, grads, float(hess[0])
        return found.value, grads, hess if self.layout == "diagonal" else hess.reshape(self.size, self.size)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self), (self.problem, self.options, self.layout)


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

    def __init__(
        self, problem: Problem, options: Options, form: Form | None = None, layout: operators.Layout = "dense"
    ) -> None:
        super().__init__(problem, options, form)
        self.layout = layout
        self.operator = partial(operators.jacobian, layout=layout)

    @once
    def sparsity(self) -> Any:
        """Where the Jacobian may be other than 0: a sparse matrix of ones, with the index arrays of each result."""
        return sparsity_of(self._outputs[1], self.dtype, "the Jacobian")

    def _formed(self, found: Found, flat: bool = False) -> Any:
        out, jac = found.arrays
        if self.layout == "sparse":
            return self._in_form(self._parted(out, found.lengths, ())), with_data(self.sparsity, self._outputs[1], jac)
        more = () if self._is_number and not flat else (self.size,)
        values, rows = self._parted(out, found.lengths, ()), self._parted(jac, found.lengths, more)
        return self._in_form(values), self._in_form(rows)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self), (self.problem, self.options, self.form, self.layout)


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
        along = [np.zeros(compiled.size, compiled.dtype)] if compiled.along else []
        self._run = compiled._prepared([*along, *inputs])
        self._dtype = np.dtype(compiled.dtype)
        self._known: tuple[bytes, bytes] | None = None
        self._found: Any = None

    def __call__(self, theta: Any, vector: Any = None) -> Any:
        """All outputs at theta, with the gradient as one vector; vector: of a product, zeros if left out."""
        return self._evaluated(bind.convert_theta(theta, self.compiled.size, self._dtype), self._along(vector))

    def _along(self, vector: Any) -> list[np.ndarray]:
        f = self.compiled
        return [f._as_vector(np.zeros(f.size, f.dtype) if vector is None else vector)] if f.along else []

    def _evaluated(self, theta: np.ndarray, along: list[np.ndarray]) -> Any:
        arrays = [np.empty(size, self._dtype) for _, size in self._run.sizes]
        return self.compiled._formed(self._run(theta, arrays, [*along, *self.inputs]), flat=True)

    def _shared(self, theta: Any, place: int, vector: Any = None) -> Any:
        """One output, a copy; evaluated once for all views at one theta."""
        theta = bind.convert_theta(theta, self.compiled.size, self._dtype)
        along = self._along(vector)
        key = theta.tobytes(), along[0].tobytes() if along else b""
        if key != self._known:
            self._found, self._known = self._evaluated(theta, along), key
        return copy(self._found[place])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.compiled, self.inputs)

    def fun(self, theta: Any) -> Any:
        """The loss, or the values."""
        return self._shared(theta, 0)

    def jac(self, theta: Any) -> Any:
        """The gradient, or the Jacobian."""
        return self._shared(theta, 1)

    def value_and_grad(self, theta: Any) -> tuple[Any, Any]:
        """The loss and its gradient."""
        return self.fun(theta), self.jac(theta)

    def hess(self, theta: Any) -> Any:
        """The Hessian."""
        if not isinstance(self.compiled, CompiledHessian):
            raise ArgumentError("this has no Hessian: compile it with compile_hessian")
        return self._shared(theta, 2)

    def hessp(self, theta: Any, vector: Any) -> Any:
        """The Hessian times a vector."""
        if isinstance(self.compiled, CompiledHessian):
            return self.hess(theta) @ np.asarray(vector)
        if not isinstance(self.compiled, CompiledHvp):
            raise ArgumentError("this has no product with the Hessian: compile it with compile_hvp")
        return self._shared(theta, 2, vector)


def sparsity_of(output: Output, dtype: str, what: str) -> Any:
    """A matrix of ones with the pattern of an output: SciPy's csr_array, or csc_array."""
    from scipy.sparse import csc_array, csr_array  # takes a tenth of a second to import

    pattern = output.pattern
    if pattern is None:
        raise ArgumentError(f"{what} is not sparse: compile it with sparse=True")
    made = csr_array if pattern.by_row else csc_array
    found = made((np.ones(len(pattern.indices), dtype), pattern.indices, pattern.starts), shape=pattern.shape)
    found.has_sorted_indices = found.has_canonical_format = True
    return found


def with_data(pattern: Any, output: Output, data: np.ndarray) -> Any:
    """A sparse matrix with the data of an output; its index arrays are the same objects."""
    found = object.__new__(type(pattern))
    found.__dict__.update(pattern.__dict__)
    found.data = output.pattern.arranged(data) if output.pattern else data
    return found


def with_vector(problem: Problem, name: str) -> Problem:
    """The problem with a vector like theta as its first input."""
    size = sum(size_of(a.leaf.type.shape) for a in problem.params)
    own = Namer([a.name for a in (*problem.params, *problem.inputs)])(name)
    n = leaf(own, ArrayType((size,), problem.dtype))
    return replace(problem, inputs=(Argument(own, own, n, None, ()), *problem.inputs), names={**problem.names, n: own})
