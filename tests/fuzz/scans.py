"""Scans in scans, with every reduction inside: the compiled loop against a loop in Python over NumPy's arrays.

A case is a program for a machine with registers, which all hold arrays of one shape, `[rows, columns]` or `[columns]`;
each operation of a step reads some and appends one. A step's carries are mixtures of its last registers, behind tanh,
so numbers stay of ordinary size, and each operation keeps a part of what it is of, so that entries do not tie.

Loss and gradient are those of NumPy and of differences, the text keeps its promises (`tests/lowered.py`), and as plain
Python it has the bits of machine code, which is looked at in a fifth of the cases, as it takes long.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import gradcompile as gc
from tests import lowered
from tests.fuzz import _numbers

BRIEF = 4
LENGTHS = (1, 1, 2, 3, 4, 5, 8, 17, 33)  # of axes
KEPT = 0.3  # of what an operation is of


def softmax(x: Any, axis: int | None) -> Any:
    """As gradcompile.softmax."""
    if not isinstance(x, np.ndarray):
        return gc.softmax(x, axis=axis)
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def logsumexp(x: Any, axis: int | None) -> Any:
    """As gradcompile.logsumexp, with keepdims."""
    if not isinstance(x, np.ndarray):
        return gc.logsumexp(x, axis=axis, keepdims=True)
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


def places(k: int, length: int) -> Any:
    """Places along an axis, some of them twice."""
    return np.array([(j * j + k) % length for j in range(length)])


def picked(x: Any, axis: int, k: int) -> Any:
    """Entries at constant places."""
    return x[(slice(None),) * axis + (places(k, x.shape[axis]),)]


def one(x: Any, axis: int, k: int) -> Any:
    """One entry along an axis, by an array of one place."""
    return picked(x, axis, k) * 0.5 + x[(slice(None),) * axis + (np.array([k % x.shape[axis]]),)]


def sorted_by(x: Any, axis: int) -> Any:
    """Entries in the order of others."""
    return np.take_along_axis(x, np.argsort(np.cos(3 * x), axis=axis), axis=axis)


def mask(shape: Sequence[int], k: int) -> Any:
    """Truth values, some of them true."""
    return (np.arange(np.prod(shape)).reshape(shape) * 7 + k) % 3 > 0


def letters(x: Any) -> str:
    """The axes of an array for einsum."""
    return "ij"[: len(x.shape)]


def turned(x: Any, y: Any) -> Any:
    """A product of matrices, of the shape of the first; of vectors an outer one that is summed."""
    if len(x.shape) == 1:
        return np.einsum("i,j,j->i", x, y, np.tanh(y)) / x.shape[0]
    return np.einsum("ij,kj,kl->il", x, y, np.tanh(y)) / (x.shape[0] * x.shape[1])


# op(first, second, axis, number): of the first register, and what else there is.
OPS: dict[str, Callable[[Any, Any, int, int], Any]] = {
    "max": lambda x, y, a, k: x - np.max(x, axis=a, keepdims=True),
    "max of all": lambda x, y, a, k: x - np.max(x),
    "min": lambda x, y, a, k: x * np.min(y, axis=a, keepdims=True),
    "std": lambda x, y, a, k: x / (1 + np.std(y, axis=a, keepdims=True)),
    "std of all": lambda x, y, a, k: x * np.std(x),
    "var": lambda x, y, a, k: x - np.var(x, axis=a, keepdims=True),
    "mean": lambda x, y, a, k: x - np.mean(y, axis=a, keepdims=True),
    "sum": lambda x, y, a, k: y * np.sum(x, axis=a, keepdims=True) / x.shape[a],
    "softmax": lambda x, y, a, k: softmax(x, a),
    "softmax of all": lambda x, y, a, k: softmax(x, None) * y,
    "logsumexp": lambda x, y, a, k: y - logsumexp(x, a),
    "logsumexp of all": lambda x, y, a, k: x / (5 + logsumexp(x, None) ** 2),
    "cumsum": lambda x, y, a, k: np.cumsum(x, axis=a) / x.shape[a],
    "roll": lambda x, y, a, k: np.roll(x, k, axis=a) * y,
    "flip": lambda x, y, a, k: np.flip(x, axis=a) - y,
    "sort": lambda x, y, a, k: np.sort(x, axis=a),
    "order": lambda x, y, a, k: sorted_by(x, a),
    "argmax": lambda x, y, a, k: x * (1 + np.argmax(y, axis=a, keepdims=True)) / x.shape[a],
    "norm": lambda x, y, a, k: x / (1 + np.linalg.norm(y, axis=a, keepdims=True)),
    "norm of all": lambda x, y, a, k: x / (1 + np.linalg.norm(x)),
    "pick": lambda x, y, a, k: picked(x, a, k),
    "one": lambda x, y, a, k: one(x, a, k),
    "einsum": lambda x, y, a, k: y * np.einsum(f"{letters(x)},{letters(x)}->", x, y) / (1 + np.prod(x.shape)),
    "product": lambda x, y, a, k: turned(x, y),
    "where": lambda x, y, a, k: np.where(mask(x.shape, k), x, y),
    "mask": lambda x, y, a, k: mask(x.shape, k) * x + y,
    "sign": lambda x, y, a, k: np.where(y > 0.1, x, -0.5 * x),
    "tanh": lambda x, y, a, k: np.tanh(x + y),
    "exp": lambda x, y, a, k: np.exp(-x * x) * y,
    "add": lambda x, y, a, k: x - 0.5 * y,
}


# ---- what is drawn


def draw(rng: random.Random) -> Any:
    """A scan with another one in it."""
    rank = rng.choice((1, 1, 2))
    shape = [rng.choice(LENGTHS) for _ in range(rank)]
    if np.prod(shape) > 24:
        shape = [min(d, 5) for d in shape]
    program = draw_scan(rng, rng.choice((1, 1, 1, 1, 1, 2)))
    return {"shape": shape, "dtype": rng.choice(("float64", "float64", "float32")), "seed": rng.randrange(10**6),
            "python": rng.random() < 0.2, "scan": program}  # fmt: skip


def draw_scan(rng: random.Random, depth: int) -> Any:
    """A loop: of each operation the name, registers from the end, axis and number; or another loop."""
    ops: list[Any] = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        ops.append([rng.choice(list(OPS)), rng.randrange(4), rng.randrange(4), rng.randrange(2), rng.randrange(5)])
    if depth:
        ops.insert(rng.randint(0, len(ops)), draw_scan(rng, depth - 1))
        if rng.random() < 0.2:
            ops.insert(rng.randint(0, len(ops)), draw_scan(rng, 0))
    return {"length": rng.choice((1, 2, 2, 3)), "carries": rng.choice((1, 1, 1, 2)), "walks": rng.random() < 0.5,
            "stacks": rng.random() < 0.5, "reverse": rng.random() < 0.3, "checkpoint": rng.random() < 0.15,
            "ops": ops}  # fmt: skip


# ---- what is run


def loop(step: Callable[..., Any], init: Any, xs: Any, length: int, reverse: bool) -> Any:
    """What gradcompile.scan does, in Python."""
    carry, ys = init, [None] * length
    for t in range(length)[:: -1 if reverse else 1]:
        carry, ys[t] = step(carry, None if xs is None else xs[t])
    return carry, None if ys[0] is None else np.stack(ys)


def scanned(program: Any, given: Sequence[Any]) -> Any:
    """The array that a loop gives for registers; what it walks is made of the last one."""
    length, count = program["length"], program["carries"]
    last, first = given[-1], given[0]
    init = [np.tanh(last + 0.1 * k) for k in range(count)]
    xs = np.stack([last * (0.5 + 0.25 * t) - 0.1 * t * first for t in range(length)]) if program["walks"] else None

    def step(carry: Any, x: Any) -> Any:
        registers = [*given, *carry, *([] if x is None else [x])]
        for op in program["ops"]:
            registers.append(scanned(op, registers) if isinstance(op, dict) else applied(op, registers))
        new = [np.tanh(registers[-1 - k % len(registers)] * 0.8 + 0.3 * carry[k]) for k in range(count)]
        return new, registers[-1] * 0.5 if program["stacks"] else None

    options = {"length": length, "reverse": program["reverse"]}
    if isinstance(last, np.ndarray):
        carry, ys = loop(step, init, xs, **options)
    else:
        carry, ys = gc.scan(step, init, xs, checkpoint=program["checkpoint"], **options)
    return sum(carry) + (0 if ys is None else np.sum(np.tanh(ys), axis=0) - ys[0])


def applied(op: Any, registers: Sequence[Any]) -> Any:
    """One operation."""
    name, i, j, axis, k = op
    x, y = registers[-1 - i % len(registers)], registers[-1 - j % len(registers)]
    return OPS[name](x, y, axis % len(x.shape), k) * (1 - KEPT) + KEPT * x


def loss(case: Any) -> Callable[..., Any]:
    """The loss of two arrays."""
    weights = np.cos(np.arange(np.prod(case["shape"]))).reshape(case["shape"])
    return lambda x, y: np.sum(scanned(case["scan"], [x, y]) * weights) + np.sum(np.sin(x) * y)


def judge(case: Any) -> str | None:
    """Whether it is what Python gives."""
    shape, dtype, whole = tuple(case["shape"]), case["dtype"], loss(case)
    params = [gc.array(name, shape, dtype) for name in "xy"]
    f = gc.compile_grad(whole(*params), params)
    lowered.check(f.source, f.problem, f._derivation.derived.outputs)
    rng = np.random.default_rng(case["seed"])
    at = [rng.normal(size=shape).astype(dtype) for _ in params]
    wrong = _numbers.wrong(f, whole, at) or _numbers.unlike_full(f, lambda: f(*at))
    return wrong or (_numbers.unlike_python(f, at) if case["python"] else None)
