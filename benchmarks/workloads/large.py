"""Long expressions: an unrolled chain, an irregular graph, the equations of motion of a pendulum of five links."""

import itertools
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.record import OURS, Workload, faster, first_within, sooner

CHAINS = (100, 1_000, 10_000)


def chain(m: Any, p: Any, x: Any) -> Any:
    """A sum of one shape of term over neighbours, as a Python loop over symbols writes it."""
    return m.sum(
        100 * (b - a * a) ** 2 + (1 - a) ** 2 + m.sin(a * b) * m.exp(-a * a) + m.sqrt(1 + b * b)
        for a, b in itertools.pairwise(p)
    )


def normal(rng: np.random.Generator, size: int) -> tuple[np.ndarray, tuple[()]]:
    return 0.5 * rng.normal(size=size), ()


PER_LEAF = 100  # operations of the random graph for each parameter
NEAR = 200  # how far back, on average, an operand was made
KINDS = {"sum": 0.4, "product": 0.35, "function": 0.25}
OPERANDS = {"sum": "product function leaf", "product": "sum function leaf", "function": "sum product leaf"}


def recipe(leaves: int) -> tuple[list[tuple[str, int, int, int]], list[int]]:
    """A random graph over so many leaves: kind, operands and variant of each node; and the nodes that nothing uses.

    No operand is of its user's kind, so SymPy flattens nothing; a product has a function in it, which keeps values
    moderate. Half of the operands are the oldest that nothing uses yet, so that few are left over.
    """
    rng, kinds, rows = random.Random(leaves), ["leaf"] * leaves, []
    unused = dict.fromkeys(range(leaves))

    def operand(allowed: str) -> int:
        waiting = next((k for k in itertools.islice(unused, 20) if kinds[k] in allowed), None)
        if waiting is not None and rng.random() < 0.5:
            return waiting
        near = len(kinds) - 1 - min(len(kinds) - 1, int(rng.expovariate(1 / NEAR)))
        return next(k for k in itertools.chain(range(near, -1, -1), range(near, len(kinds))) if kinds[k] in allowed)

    for _ in range(PER_LEAF * leaves):
        (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
        left, right = operand("function leaf" if kind == "product" else OPERANDS[kind]), operand(OPERANDS[kind])
        for k in (left, right) if kind != "function" else (left,):
            unused.pop(k, None)
        unused[len(kinds)] = None
        rows.append((kind, left, right, rng.randrange(5)))
        kinds.append(kind)
    return rows, list(unused)


def irregular(m: Any, p: Any, x: Any) -> Any:
    """The sum of what is left over of a random graph of PER_LEAF operations a parameter."""
    unary = (m.sin, m.cos, m.tanh, lambda a: m.exp(-a * a), lambda a: 1 / (2 + m.sin(a)))
    rows, unused = recipe(len(p))
    made = list(p)
    with m.literally():  # SymPy's own simplification of a deep graph takes hours
        for kind, left, right, variant in rows:
            a, b = made[left], made[right]
            signed = a - b if variant % 2 else a + b
            made.append(unary[variant](a) if kind == "function" else a * b if kind == "product" else signed)
        return m.sum(made[k] for k in unused)


LINKS = 5


def pendulum(m: Any, p: Any, x: Any, solved: bool = False) -> Any:
    """The squared residual of the equations of motion of a pendulum of links on a cart: M(q) a - f(q, v), or solved for
    the accelerations, a - M(q)^-1 f(q, v), by a symbolic LU decomposition.

    Parameters: g, the lengths, the masses. A sample: positions and velocities of the joints, accelerations of cart and
    joints, and the force on the cart.
    """
    import sympy
    from sympy.physics.mechanics.models import n_link_pendulum_on_cart

    kane = n_link_pendulum_on_cart(LINKS)
    lengths, masses = sympy.symbols(f"l:{LINKS}"), sympy.symbols(f"m:{LINKS + 1}")
    time = sympy.Symbol("t")
    symbols = [sympy.Symbol("g"), *lengths, *masses, *kane.q[1:], *kane.u[1:], sympy.Function("F")(time)]
    places = dict(zip(symbols, (*p, *x[: 2 * LINKS], x[-1]), strict=True))
    accelerations, mass, force = sympy.Matrix(x[2 * LINKS : -1]), sympy.Matrix(kane.mass_matrix), kane.forcing
    residual = accelerations - mass.LUsolve(force) if solved else mass * accelerations - force
    return sum(r**2 for r in residual.xreplace(places))


def pendulum_data(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Sequence[np.ndarray]]:
    return rng.uniform(0.5, 1.5, size=2 + 2 * LINKS), list(rng.normal(size=(2 + 3 * LINKS, n)))


def chain_workload(size: int) -> Workload:
    """The chain; the one of 1,000 parameters against peers, the others for how time and code grow."""
    rivals = {"casadi": peers.casadi, "heyoka": peers.heyoka} if size == 1_000 else {}
    reaches = [faster("casadi", 12), faster("heyoka", 3), first_within(1.5)] if rivals else []
    title = f"unrolled chain of {size:,} parameters"
    return Workload(f"chain-{size}", title, chain, normal, size, size // 50 + 3, {OURS: peers.ours, **rivals}, reaches)


def irregular_workload(operations: int, seconds: float) -> Workload:
    return Workload(
        f"irregular-{operations}", f"irregular graph of {operations:,} operations", irregular, normal,
        operations // PER_LEAF, 10, {OURS: peers.ours, "casadi": peers.casadi},
        [faster("casadi", 1.5), first_within(seconds)],
    )  # fmt: skip


def pendulum_workload(name: str, what: str, solved: bool) -> Workload:
    return Workload(
        name, f"{what}, {LINKS} links on a cart, 12 parameters, 1,000 samples", partial(pendulum, solved=solved),
        pendulum_data, 1_000, 10, {OURS: peers.ours, "lambdify": peers.lambdify},
        [sooner("lambdify", 20), faster("lambdify", 2)], limit=180.0,
    )  # fmt: skip


WORKLOADS = (
    *map(chain_workload, CHAINS),
    irregular_workload(20_000, 8),
    irregular_workload(100_000, 40),
    pendulum_workload("pendulum", "equations of motion", solved=False),
    pendulum_workload("pendulum-solved", "equations of motion solved for the accelerations", solved=True),
)
