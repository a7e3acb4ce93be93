"""Second derivatives and Jacobians of random formulas and programs, against many digits and against each other.

Formulas and programs are those of `formulas` and `arrays`. The truth is the slope, in many digits, of the gradient's
graph as it was read, which the other fuzzers hold to the truth; at a kink, where both sides have slopes of their own,
nothing is asked. Of formulas a number is wrong as in `formulas`, by its running error; of programs beside the largest
entry. A Gauss-Newton matrix is held to the Jacobian's products. SymPy's Derivative is one of the gradients, and its
gradient a row of the Hessian.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import mpmath
import numpy as np
from numba.core import config

import gradcompile as gc
from gradcompile.analysis import evaluate
from gradcompile.diff.reverse import vjp
from gradcompile.errors import GradcompileError
from gradcompile.ir.algebra import part_at
from gradcompile.ir.core import Node
from tests.fuzz import _bounds, arrays, formulas
from tests.fuzz.run import refuse
from tests.plain import plain

BRIEF = 3
WAYS = ("hessian", "hessian", "jacobian", "inside", "arrays", "arrays")
LAYOUTS: dict[str, dict[str, bool]] = {"dense": {}, "sparse": {"sparse": True}, "diagonal": {"diagonal": True}}
DIGITS = 60
STEPS = (mpmath.mpf(10) ** -15, mpmath.mpf(10) ** -18)
CLOSE = {"float64": 1e-7, "float32": 3e-2}  # beside the largest entry of programs
Case = dict[str, Any]


def draw(rng: random.Random) -> Case:
    """What is differentiated, how, and along what."""
    way = rng.choice(WAYS)
    case = arrays.draw(rng) if way == "arrays" else formulas.draw(rng)
    if way != "arrays":
        case["points"] = case["points"][:3]
    along = [round(rng.uniform(-2, 2), 3) for _ in range(40)]
    return {"way": way, "layout": rng.choice(list(LAYOUTS)), "along": along, "case": case}


def judge(case: Case) -> str | None:
    """What is wrong with the second derivatives of a case."""
    return of_program(case) if case["way"] == "arrays" else of_formula(case)


# Formulas


def of_formula(case: Case) -> str | None:
    """What is wrong with a formula, at the first point where something is."""
    inner = case["case"]
    try:
        expr = formulas.read(inner["formula"])
    except (TypeError, ValueError, ArithmeticError):
        return None
    names = [s.name for s in expr.free_symbols]
    params = [formulas.SYMBOLS[n] for n in inner["points"][0] if n in formulas.PARAMS and n in names]
    columns = [formulas.SYMBOLS[n] for n in inner["points"][0] if n in formulas.COLUMNS and n in names]
    if not params or expr.has(formulas.sp.nan, formulas.sp.zoo, formulas.sp.I, formulas.sp.oo):
        return None
    options = {"data": columns, "dtype": inner["dtype"], "stabilize": inner["stabilize"], "cache": False}
    try:
        compiled = compiled_of(case, expr, params, options)
    except GradcompileError as error:
        refuse(error)
        return None
    for point in inner["points"]:
        given = {n: v for n, v in point.items() if n in names}
        try:
            wrong = at_point(case, compiled, given)
        except _bounds.Beyond:
            continue
        if wrong is not None:
            return f"at {given}: {wrong}"
    return None


def compiled_of(case: Case, expr: Any, params: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
    """The functions of a way, their graphs made, so that what can't be compiled is refused here."""
    if case["way"] == "inside":
        inside = formulas.sp.Derivative(expr, params[0], evaluate=False)
        found: list[Any] = [gc.compile_grad(inside, params, allow_unused=True, **options),
                            gc.compile_grad(expr, params, **options)]  # fmt: skip
    elif case["way"] == "jacobian":
        found = [gc.compile_jacobian(expr, params, **options), gc.compile_jvp(expr, params, **options)]
        square = formulas.sp.Pow(expr, 2, evaluate=False)
        found += [gc.compile_hessian(square, params, gauss_newton=True, reduce="sum", **options)]
    else:
        layout = LAYOUTS[case["layout"]]
        found = [gc.compile_hessian(expr, params, **options, **layout), gc.compile_hvp(expr, params, **options)]
        found += [gc.compile_hessian(expr, params, **options)] if case["layout"] == "sparse" else []
    for f in found:
        f.graph  # noqa: B018
    return found


def at_point(case: Case, compiled: Sequence[Any], given: Mapping[str, Any]) -> str | None:
    """What is wrong at one point: a number, a bit of plain Python, or two functions that differ."""
    first, second, *_ = compiled
    problem = first.problem
    leaves = first._leaf_values([], given)
    dims: dict[str, int] = {}
    evaluate.bind(leaves, dims)
    with mpmath.workdps(_bounds.digits_for(leaves)):
        if case["way"] == "inside":
            of_all, truth_of = second, lambda n, leaf: _bounds.slopes_of(n, leaf, leaves, dims)
            gradients = vjp(of_all.problem.primal, [a.leaf for a in of_all.problem.params])[:1]
            loss, grads = first(**given)
            numbers = [loss, *np.ravel(grads)]
            truths = [exact_of(gradients[0], leaves, dims)]
            truths += [truth_of(gradients[0], a.leaf) for a in of_all.problem.params]
            roots = first.graph.simplified
        elif case["way"] == "jacobian":
            numbers, truths, roots = jacobian_and_truth(first, given, leaves, dims)
        else:
            numbers, truths, roots = hessian_and_truth(compiled, given, leaves, dims)
        wrong = first_wrong(numbers, truths, roots, leaves, dims, problem.dtype)
        if wrong is None and case["way"] != "inside" and case["layout"] != "diagonal":
            wrong = wrong_product(case, compiled, given, truths, leaves, dims)
        if wrong is None and case["way"] == "jacobian":
            wrong = unlike_products(first, compiled[2], given)
    return wrong or (None if config.DISABLE_JIT else unlike_python(first, given))


def unlike_products(j: Any, h: Any, given: Mapping[str, Any]) -> str | None:
    """Whether a Gauss-Newton matrix of squares is twice J'J, beside the sizes of what is added up."""
    rows = np.reshape(j(**given)[1], (-1, j.size)).astype(float)
    found = np.reshape(h(**given)[2], (j.size, j.size))
    with np.errstate(all="ignore"):
        right, size = 2 * rows.T @ rows, 2 * abs(rows).T @ abs(rows)
        wrong = abs(found - right) > CLOSE[j.dtype] * size + float(np.finfo(j.dtype).tiny)
    if not np.isfinite(size).all() or not wrong.any() or size.max() > np.finfo(j.dtype).max:
        return None
    return f"the Gauss-Newton matrix is {found.tolist()} for {right.tolist()}"


def exact_of(n: Node, leaves: Mapping[Node, Any], dims: dict[str, int]) -> list[Any]:
    """The value of a node, none where it has none."""
    found = _bounds.value_of(n, leaves, dims)
    return [found] if mpmath.isfinite(found) else []


Numbers = tuple[list[float], list[list[Any]], list[Node]]  # what came, what is right for each, and its root


def hessian_and_truth(
    compiled: Sequence[Any], given: Mapping[str, Any], leaves: Mapping[Node, Any], dims: dict[str, int]
) -> Numbers:
    """The entries of a Hessian, those of a sparse one with the roots of the dense one, which is compiled last."""
    h = compiled[0]
    hess = dense(h(**given)[-1])
    wrt = [a.leaf for a in h.problem.params]
    gradients = vjp(h.problem.primal, wrt)
    places = [(k, j) for k in range(len(wrt)) for j in range(len(wrt)) if np.ndim(hess) != 1 or k == j]
    defined = bool(exact_of(h.problem.primal, leaves, dims))
    truths = [_bounds.slopes_of(gradients[k], wrt[j], leaves, dims) if defined else [] for k, j in places]
    return list(np.ravel(hess)), truths, compiled[len(compiled) // 3 * 2].graph.simplified[1 + len(wrt) :]


def dense(matrix: Any) -> Any:
    """A matrix as an array."""
    return matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)


def jacobian_and_truth(j: Any, given: Mapping[str, Any], leaves: Mapping[Node, Any], dims: dict[str, int]) -> Numbers:
    """The entries of a Jacobian, by sample."""
    value = j.problem.primal
    _, jac = j(**given)
    rows = np.reshape(jac, (-1, j.size))
    samples = [of_sample(value, k) for k in range(len(rows))]
    entries = j.graph.simplified[1:]
    truths = [_bounds.slopes_of(s, a.leaf, leaves, dims) if exact_of(s, leaves, dims) else []
              for s in samples for a in j.problem.params]  # fmt: skip
    roots = [of_sample(e, k) for k in range(len(rows)) for e in entries]
    return list(np.ravel(rows)), truths, roots


def first_wrong(
    numbers: Sequence[float],
    truths: Sequence[Sequence[Any]],
    roots: Sequence[Node],
    leaves: Mapping[Node, Any],
    dims: dict[str, int],
    dtype: str,
) -> str | None:
    """The first number that is none of what is right for it, farther than its running error."""
    if all(not t or any(formulas.is_near(x, s, dtype) for s in t) for x, t in zip(numbers, truths, strict=True)):
        return None
    bounds = _bounds.bounded(roots, leaves, dims)
    for k, (x, t, b) in enumerate(zip(numbers, truths, bounds, strict=True)):
        if len(t) == 1 and formulas.is_wrong(float(x), b, t[0], t[0], dtype):
            return f"entry {k} is {x!r} for {mpmath.nstr(t[0], 17)}, with a running error of {mpmath.nstr(b.error, 3)}"
    return None


def wrong_product(
    case: Case, compiled: Sequence[Any], given: Mapping[str, Any], truths: Sequence[Any], leaves: Mapping[Node, Any],
    dims: dict[str, int],
) -> str | None:  # fmt: skip
    """What is wrong with a product of the matrix and a vector; and whether a Hessian is its own mirror."""
    matrix, product, *_ = compiled
    size, vector = matrix.size, product.problem.inputs[0].leaf
    along = np.array(case["along"][:size], matrix.dtype)
    if case["way"] == "hessian":
        rows = np.reshape(dense(matrix(**given)[-1]), (size, size))
        if not np.array_equal(rows, rows.T, equal_nan=True):
            return f"the Hessian is not symmetric: {rows.tolist()}"
    moved = np.ravel(product(**given, **{product.along: along})[-1])
    rows = [truths[k : k + size] for k in range(0, len(truths), size)]
    right = [[mpmath.fdot((t[0], float(v)) for t, v in zip(row, along, strict=True))] if all(len(t) == 1 for t in row)
             else [] for row in rows]  # fmt: skip
    ends = product.graph.simplified[-size if case["way"] == "hessian" else -1 :]
    roots = ends if case["way"] == "hessian" else [of_sample(ends[0], k) for k in range(len(moved))]
    wrong = first_wrong(moved, right, roots, {**leaves, vector: along}, dims, matrix.dtype)
    return wrong and f"along {along.tolist()} {wrong}"


def of_sample(n: Node, k: int) -> Node:
    """A sample's entry of a node; a number as it is."""
    return part_at(n, (k,)) if n.type.shape else n


def unlike_python(f: Any, given: Mapping[str, Any]) -> str | None:
    """How machine code differs from its own text as plain Python."""
    if {"special", "joint"} & set(re.findall(r"gradcompile.library.(\w+)", f.source)) or not hasattr(f, "_at"):
        return None
    values = [np.asarray(given[a.name], a.leaf.type.dtype) for a in (*f.problem.params, *f.problem.inputs)]
    count = len(f.problem.params)
    theta, inputs = np.concatenate([np.ravel(v) for v in values[:count]]), values[count:]
    found = f._at(theta, inputs)
    copies = [np.zeros_like(x) for x in found.arrays]
    with np.errstate(all="ignore"):
        plain(f.source)["kernel"](theta, *copies, *inputs)
    same = [np.array_equal(x, y, equal_nan=True) for x, y in zip(found.arrays, copies, strict=True)]
    return None if all(same) else f"machine code gives {found.arrays}, plain Python {copies}"


# Programs


def of_program(case: Case) -> str | None:
    """What is wrong with a program of arrays."""
    inner = case["case"]
    symbols = {n: gc.array(n, arrays.shape_of(inner, n), arrays.value_dtype(inner, n)) for n in inner["inputs"]}
    params = [symbols[n] for n in ("p", "q") if n in symbols]
    space: dict[str, Any] = arrays.OF_SYMBOLS | symbols
    options = {"inputs": [x for n, x in symbols.items() if n not in "pq"], "allow_unused": True, "cache": False}
    try:
        exec("\n".join(inner["lines"]), space)
        layout = LAYOUTS[case["layout"]]
        h, p = gc.compile_hessian(space["loss"], params, **options), gc.compile_hvp(space["loss"], params, **options)
        other = gc.compile_hessian(space["loss"], params, **options, **layout) if layout else h
        if not 0 < h.size <= len(case["along"]):
            return None
        values = arrays.drawn(inner)
        loss, _, hess = h(*values.values())
        same = dense(other(*values.values())[-1])
    except GradcompileError as error:
        refuse(error)
        return None
    along = np.array(case["along"][: h.size], inner["dtype"])
    _, _, moved = p(*values.values(), vector=along)
    if not np.isfinite(loss):
        return None
    asymmetry = np.abs(hess - hess.T)
    limit = CLOSE[inner["dtype"]]
    slopes = slopes_along(h, values, along)
    with np.errstate(all="ignore"):
        scale = 1 + np.max(np.abs(hess), initial=0.0, where=np.isfinite(hess))
        for k, slope in enumerate(slopes):
            if slope is None or not abs(slope) < 1e12:
                continue
            own = float(hess[k].astype(float) @ along)
            margin = limit * (scale + abs(slope)) * np.max(np.abs(along))
            if not abs(own - slope) <= margin:
                return f"row {k} of the Hessian times the vector is {own!r}, differences give {slope!r}"
            if not abs(moved[k] - slope) <= margin:
                return f"row {k} of the product is {moved[k]!r}, differences give {slope!r}"
        apart = np.abs(same - (np.diag(hess) if same.ndim == 1 else hess))
        if all(s is not None for s in slopes) and not np.all(asymmetry <= limit * scale):
            return f"the Hessian is not symmetric: {hess.tolist()}"
        if all(s is not None for s in slopes) and not np.all(apart <= limit * scale):
            return f"it is {same.tolist()} {case['layout']}, {hess.tolist()} dense"
    return None


def slopes_along(h: Any, values: Mapping[str, Any], along: Any) -> list[float | None]:
    """How fast each entry of the gradient moves along a vector, in many digits; None beside a kink or a jump."""
    leaves = [a.leaf for a in h.problem.params]
    shapes = [n.type.shape for n in leaves]
    gradient = vjp(h.problem.primal, leaves)
    env = {a.leaf: values[a.name] for a in (*h.problem.params, *h.problem.inputs)}
    parts = np.split(along, np.cumsum([int(np.prod(s)) for s in shapes])[:-1])

    def at(t: Any) -> Any:
        moved = {n: np.asarray(values_of(env[n]) + t * values_of(d.reshape(s)), object)
                 for n, d, s in zip(leaves, parts, shapes, strict=True)}  # fmt: skip
        found = evaluate.exact(gradient, {**env, **moved}, DIGITS)
        return np.concatenate([np.ravel(np.asarray(g, object)) for g in found])

    with mpmath.workdps(DIGITS):
        here = at(mpmath.mpf(0))
        found = [(at(s * t) - here) / (s * t) for t in STEPS for s in (1, -1)]
        return [agreed([f[k] for f in found]) for k in range(len(here))]


def values_of(x: Any) -> Any:
    """An array of numbers of mpmath."""
    return evaluate.to_mpf(np.asarray(x, object), mpmath.mpf)


def agreed(slopes: Sequence[Any]) -> float | None:
    """The slope that all differences agree on; None if they do not."""
    if not all(map(mpmath.isfinite, slopes)):
        return None
    spread = max(slopes) - min(slopes)
    return float(slopes[-1]) if spread <= mpmath.mpf(10) ** -9 * (1 + abs(slopes[-1])) else None
