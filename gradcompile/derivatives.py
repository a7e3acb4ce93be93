"""Compiled derivatives beyond the gradient: Hessians, products with a vector, Jacobians, tangents."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import Parameter, Signature
from typing import Any, NamedTuple

import numpy as np

from gradcompile.compiled import Compiled, grads_type
from gradcompile.diff import operators, reverse
from gradcompile.diff.gauss_newton import GaussNewton
from gradcompile.errors import ArgumentError, ArgumentTypeError, GradcompileError
from gradcompile.explain import Check, along, check, weighted
from gradcompile.ir.core import Node, leaf
from gradcompile.ir.types import ArrayType, Dim, dim_value
from gradcompile.once import once
from gradcompile.pipeline import Options
from gradcompile.runtime import bind
from gradcompile.runtime.matching import Call
from gradcompile.runtime.sparse import Sparse, sparse_form
from gradcompile.runtime.views import Views
from gradcompile.signature.arguments import Argument, Problem
from gradcompile.signature.forms import Form
from gradcompile.signature.names import Namer
from gradcompile.signature.program import Output, size_of
from gradcompile.signature.sparse import outer
from gradcompile.tracebacks import shorten, with_entries

FLAT = object()  # a gradient as one vector
CHECKED = 32  # entries of a diagonal that are checked


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
        own = [Parameter(a.name, kinds[a.by_name]) for a in outer(self._arguments)]
        return Signature([*own, *([Parameter(self.along, Parameter.KEYWORD_ONLY)] if self.along else [])])

    @once
    def _takes(self) -> Call:
        return Call(self._arguments)

    @once
    def _of_params(self) -> Call:
        return Call(self.problem.params)

    def __call__(self, /, *args: Any, out: Sequence[np.ndarray] | None = None, **named: Any) -> Any:
        """All outputs at these arguments. out: a tuple of vectors or arrays that they are written into."""
        try:
            values, vector = self._given(args, named, bind.COPIED)
            found = self._at(self._packed(values), [*vector, *values[len(self.problem.params) :]], out)
            return self._formed(found, args[0] if self._takes.is_formed(args) else None)
        except GradcompileError as error:
            shorten(error)
            raise

    def _given(self, args: Sequence[Any], named: dict[str, Any], copied: int = 0) -> tuple[list[Any], list[np.ndarray]]:
        """The arguments of a call, converted, and its vector if it takes one."""
        vector = self._given_vector(named)
        return bind.convert_all(self._arguments, self._takes.match(args, named), copied), vector

    def _packed(self, values: Sequence[Any]) -> np.ndarray:
        """Theta, of converted arguments."""
        return bind.packed(self.problem.params, values[: len(self.problem.params)], self.dtype)

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
            return bind.convert_theta(given, self.size, np.dtype(self.dtype), self.along)
        if isinstance(given, Mapping):
            return self.pack(*self._of_params.parameters(given))
        if isinstance(given, list | tuple) and len(given) == len(self.problem.params):
            return self.pack(*given)
        if self.problem.bare:
            return self.pack(given)
        return bind.convert_theta(given, self.size, np.dtype(self.dtype), self.along)

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
        sizes = [(name, dim_value(d, lengths)) for name, d in self._sizes]
        return Run(route.choose(inputs), sizes, lengths)

    @property
    def _outputs(self) -> Sequence[Output]:
        return self._derivation.derived.outputs

    @once
    def _sizes(self) -> list[tuple[str, Dim]]:
        return [(o.name, o.size) for o in self._outputs]

    def _formed(self, found: Found, like: Any = None) -> Any:
        """What a call returns; like: a mapping of parameters, as which the gradient comes, or FLAT for one vector."""
        raise NotImplementedError

    @once
    def _grads(self) -> Any:
        return grads_type(tuple(a.name for a in self.problem.params))

    def _by_parameter(self, vector: np.ndarray, like: Any) -> Any:
        """A vector laid out as theta, by parameter: as a mapping that was given, as a named tuple, or as it is."""
        if like is FLAT:
            return vector
        parts = bind.split(self.problem.params, vector)
        if like is not None:
            return self._of_params.arranged(parts, like)
        return parts[0] if self.problem.bare else self._grads(*parts)

    @property
    def _is_number(self) -> bool:
        """Whether theta is one bare number, which gets no axis of its own."""
        return self.problem.bare and not self.problem.params[0].leaf.type.shape

    def check(self, /, *args: Any, **named: Any) -> Check:
        """The compiled derivative against one in high precision, as `CompiledGrad.check` does it: the worst entry.

        A matrix is checked by its product with a vector of random signs, always the same: of a Hessian against
        differences of the gradient as it was written, of a Jacobian against those of the values, in 60 digits.
        """
        given, vector = self._given(args, named)
        found = self._at(self._packed(given), [*vector, *given[len(self.problem.params) :]])
        values = {a.leaf: v for a, v in zip(self._arguments, given, strict=True)}
        return self._checked(self._formed(found, like=FLAT), values, vector)

    def _checked(self, found: Any, values: Mapping[Node, Any], vector: list[np.ndarray]) -> Check:
        """The worst entry of what was found."""
        raise NotImplementedError

    def _check_gradient(self, product: np.ndarray, signs: np.ndarray, values: Mapping[Node, Any]) -> Check:
        """A product with the Hessian: the gradient of the gradient's product with the vector."""
        primal, more = self._along_gradient(self._slopes(), signs)
        return check(product, primal, self.problem.params, {**values, **more})

    def _slopes(self) -> list[Node]:
        """The gradient of the loss as it was written."""
        return reverse.vjp(self.problem.primal, [a.leaf for a in self.problem.params])

    def _along_gradient(self, slopes: Sequence[Node], vector: np.ndarray) -> tuple[Node, dict[Node, Any]]:
        """A gradient's product with a vector, and the values of the leaves that hold the vector."""
        return weighted(slopes, [np.asarray(w) for w in bind.split(self.problem.params, vector)])

    def bind(self, /, *inputs: Any, **named: Any) -> "BoundDerivative":
        """Check and convert the inputs once; the result is a function of theta with views for SciPy."""
        values = Call(self._inputs, "f.bind(").match(inputs, named)
        return BoundDerivative(self, bind.fixed(bind.convert_all(self._inputs, values)))


class Patterned(CompiledDerivative):
    """A function whose second output is a matrix that may be sparse."""

    matrix = "the Hessian"
    pattern: Any = None  # of the user's own

    @once
    def _sparse(self) -> Sparse:
        return sparse_form(self._outputs[1], self.dtype, self.matrix, self.pattern)

    @property
    def sparsity(self) -> Any:
        """Where the matrix may be other than 0: a sparse matrix of ones, with the index arrays of each result."""
        return self._sparse.ones


@with_entries
class CompiledHessian(Patterned):
    """A compiled loss with gradient and Hessian: h(*params, *inputs) -> (loss, grads, hess)."""

    def __init__(
        self,
        problem: Problem,
        options: Options,
        layout: operators.Layout = "dense",
        pattern: Any = None,
        gauss_newton: bool = False,
    ) -> None:
        super().__init__(problem, options, layout, pattern, gauss_newton)
        self.layout, self.pattern, self.gauss_newton = layout, pattern, gauss_newton
        self.operator = GaussNewton(layout) if gauss_newton else partial(operators.hessian, layout=layout)

    def _formed(self, found: Found, like: Any = None) -> Any:
        grad, hess = found.arrays
        grads = self._by_parameter(grad, like)
        if self.layout == "sparse":
            return found.value, grads, self._sparse.holding(hess)
        if self._is_number and like is None:
            return found.value, grads, float(hess[0])
        return found.value, grads, hess if self.layout == "diagonal" else hess.reshape(self.size, self.size)

    def _checked(self, found: Any, values: Mapping[Node, Any], vector: list[np.ndarray]) -> Check:
        hess = found[2]
        if self.gauss_newton:
            raise ArgumentError(
                "a Gauss-Newton matrix is no derivative to check against; check the Jacobian of the residuals, "
                "compile_jacobian(...).check(...)"
            )
        if self.layout != "diagonal":
            signs = random_signs(self.size)
            return self._check_gradient(hess @ signs, signs, values)
        slopes, checks = self._slopes(), []
        for k, unit in enumerate(np.eye(self.size)[:CHECKED]):
            primal, more = self._along_gradient(slopes, unit)
            checks.append(along(primal, self.problem.params, {**values, **more}, float(hess[k]), unit))
        return max(checks, key=lambda c: c.error)


@with_entries
class CompiledHvp(CompiledDerivative):
    """A compiled loss with gradient and Hessian times a vector: p(*args, vector=v) -> (loss, grads, hv)."""

    operator = staticmethod(operators.hessian_product)
    along = "vector"

    def _formed(self, found: Found, like: Any = None) -> Any:
        grad, hv = found.arrays
        return found.value, self._by_parameter(grad, like), float(hv[0]) if self._is_number and like is None else hv

    def _checked(self, found: Any, values: Mapping[Node, Any], vector: list[np.ndarray]) -> Check:
        return self._check_gradient(found[2], vector[0], values)


class CompiledMixed(CompiledDerivative):
    """The derivative of the gradient's product with a vector in an input: c(*args, vector=v) -> an array like that."""

    along = "vector"

    def __init__(self, problem: Problem, options: Options, position: int) -> None:
        super().__init__(problem, options, position)
        self.position = position
        self.operator = partial(operators.mixed_product, position=position)

    def _formed(self, found: Found, like: Any = None) -> Any:
        shape = self.problem.inputs[self.position].leaf.type.shape
        return found.arrays[0].reshape([dim_value(d, found.lengths) for d in shape])


class CompiledForm(CompiledDerivative):
    """Values in the form they were given in, each with something beside it."""

    what = "value"

    def __init__(self, problem: Problem, options: Options, form: Form | None = None, *more: Any) -> None:
        super().__init__(problem, options, form, *more)
        self.form = form

    def _in_form(self, vector: np.ndarray, lengths: Mapping[str, int], more: tuple[int, ...] = ()) -> Any:
        """An output in the form of the values, so many entries for each of theirs."""
        if self.form is not None and self._are_numbers:
            return self.form.of_rows(vector.reshape(-1, *more))
        if self._shape is not None:
            return vector.reshape(*self._shape, *more)
        parts = self._parted(vector, lengths, more)
        return parts[0] if self.form is None else self.form.filled(iter(parts))

    @once
    def _are_numbers(self) -> bool:
        """Whether all values are single numbers, as in most systems of equations."""
        return all(not p.type.shape for p in self.problem.primals)

    @once
    def _shape(self) -> tuple[int, ...] | None:
        """The shape of the only value, if it is an array of known lengths, not in a form."""
        shape = self.problem.primal.type.shape
        known = tuple(d for d in shape if isinstance(d, int))
        return known if self.form is None and len(known) == len(shape) > 0 else None

    def _parted(self, vector: np.ndarray, lengths: Mapping[str, int], more: tuple[int, ...]) -> list[Any]:
        """An output by value, each of its shape and of so many entries for each of its own."""
        primals = self.problem.primals
        if operators.is_by_sample(self.problem, primals):
            rows = vector.reshape(-1, len(primals), *more)
            return [rows[:, k] for k in range(len(primals))]
        found, start = [], 0
        for p in primals:
            shape = (*(dim_value(d, lengths) for d in p.type.shape), *more)
            stop = start + math.prod(shape)
            found.append(vector[start:stop].reshape(shape) if shape else float(vector[start]))
            start = stop
        return found

    def _flat(self, formed: Any, width: int) -> np.ndarray:
        """What is in the form of the values as rows of so many entries, in their order."""
        parts = [formed] if self.form is None else self.form.emptied(formed)
        return np.concatenate([np.reshape(p, (-1, width)) for p in parts])

    def _signed(self, values: Any) -> tuple[Node, dict[Node, Any], np.ndarray]:
        """The sum of all values times random signs, the values of its leaves, and the signs."""
        parts = [np.asarray(p) for p in ([values] if self.form is None else self.form.emptied(values))]
        signs = random_signs(sum(p.size for p in parts))
        ends = np.cumsum([p.size for p in parts])[:-1]
        own = [s.reshape(p.shape) for s, p in zip(np.split(signs, ends), parts, strict=True)]
        return *weighted(self.problem.primals, own), signs


@with_entries
class CompiledValues(CompiledForm):
    """Several compiled values: f(*params, *inputs) -> the values in the form in which they were given."""

    operator = staticmethod(operators.value)

    def _formed(self, found: Found, like: Any = None) -> Any:
        (out,) = found.arrays
        return self._in_form(out if len(out) else np.array([found.value]), found.lengths)


@with_entries
class CompiledJacobian(Patterned, CompiledForm):
    """Compiled values with their Jacobian in theta: j(*params, *inputs) -> (r, J)."""

    matrix = "the Jacobian"

    def __init__(
        self,
        problem: Problem,
        options: Options,
        form: Form | None = None,
        layout: operators.Layout = "dense",
        pattern: Any = None,
    ) -> None:
        super().__init__(problem, options, form, layout, pattern)
        self.layout, self.pattern = layout, pattern
        self.operator = partial(operators.jacobian, layout=layout)

    def _formed(self, found: Found, like: Any = None) -> Any:
        out, jac = found.arrays
        if self.layout == "sparse":
            return self._in_form(out, found.lengths), self._sparse.holding(jac)
        more = () if self._is_number and like is None else (self.size,)
        return self._in_form(out, found.lengths), self._in_form(jac, found.lengths, more)

    def _checked(self, found: Any, values: Mapping[Node, Any], vector: list[np.ndarray]) -> Check:
        primal, more, signs = self._signed(found[0])
        whole = found[1].T @ signs if self.layout == "sparse" else self._flat(found[1], self.size).T @ signs
        return check(whole, primal, self.problem.params, {**values, **more})


@with_entries
class CompiledJvp(CompiledForm):
    """Compiled values with their derivative along a tangent: t(*args, tangent=v) -> (value, tangent)."""

    operator = staticmethod(operators.tangent)
    along = "tangent"

    def _formed(self, found: Found, like: Any = None) -> Any:
        out, tangent = found.arrays
        values = out if len(out) else np.array([found.value])
        return self._in_form(values, found.lengths), self._in_form(tangent, found.lengths)

    def _checked(self, found: Any, values: Mapping[Node, Any], vector: list[np.ndarray]) -> Check:
        primal, more, signs = self._signed(found[0])
        got = float(self._flat(found[1], 1)[:, 0] @ signs)
        return along(primal, self.problem.params, {**values, **more}, got, vector[0])


class PerSample(CompiledDerivative):
    """What a loss gives for each sample: values, and gradients, their norms, or the mean of their outer products."""

    def __init__(self, problem: Problem, options: Options, what: operators.What) -> None:
        super().__init__(problem, options, what)
        self.kind = what
        self.operator = partial(operators.per_sample, what=what)

    def _formed(self, found: Found, like: Any = None) -> Any:
        if self.kind == "moments":
            return found.value, found.arrays[0].reshape(self.size, self.size)
        values, *more = found.arrays
        if self.kind == "values":
            return (values,)
        return values, more[0].reshape(-1, self.size) if self.kind == "gradients" else more[0]


class BoundDerivative(Views):
    """A compiled derivative with its inputs fixed: called with theta it gives all, with the gradient as one vector.

    Its views for SciPy (fun, jac, value_and_grad, hess, hessp) share one evaluation at one theta.
    """

    def __init__(self, compiled: CompiledDerivative, inputs: list[Any]) -> None:
        whole = isinstance(compiled, CompiledHessian) and compiled.layout != "diagonal"  # as SciPy has it
        super().__init__(self, inputs, whole, isinstance(compiled, CompiledHvp))
        self.compiled, self.inputs = compiled, inputs
        along = [np.zeros(compiled.size, compiled.dtype)] if compiled.along else []
        self._run = compiled._prepared([*along, *inputs])
        self._dtype = np.dtype(compiled.dtype)

    def __call__(self, theta: Any, vector: Any = None) -> Any:
        """All outputs at theta; vector: that of a product, zeros if left out."""
        f = self.compiled
        is_formed = f._of_params.is_formed([theta])
        like = theta if is_formed else FLAT
        theta = f.pack(theta) if is_formed else bind.convert_theta(theta, f.size, self._dtype)
        along = [f._as_vector(np.zeros(f.size, f.dtype) if vector is None else vector)] if f.along else []
        arrays = [np.empty(size, self._dtype) for _, size in self._run.sizes]
        return f._formed(self._run(theta, arrays, [*along, *self.inputs]), like)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.compiled, self.inputs)


def random_signs(count: int) -> np.ndarray:
    """1 or -1, always the same."""
    return np.random.default_rng(0).choice([-1.0, 1.0], count)


def with_vector(problem: Problem, name: str) -> Problem:
    """The problem with a vector like theta as its first input."""
    size = sum(size_of(a.leaf.type.shape) for a in problem.params)
    own = Namer([a.name for a in (*problem.params, *problem.inputs)])(name)
    n = leaf(own, ArrayType((size,), problem.dtype))
    return replace(problem, inputs=(Argument(own, own, n, None, ()), *problem.inputs), names={**problem.names, n: own})
