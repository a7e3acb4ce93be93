"""One adapter a peer for losses over arrays, all given the same formula. Packages load when their adapter runs."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.record import ArrayCase, Case, Runner

Build = Callable[[], Runner]


def ours(case: ArrayCase) -> Build:
    """gradcompile, as an optimiser would use it: f.bind(*inputs)(theta). The first result begins with `array`."""
    import numba  # noqa: F401  (the time to the first result starts with Numba imported)

    import gradcompile as gc

    def declared(name: str, value: np.ndarray) -> Any:
        shape = ("n" if case.batched.get(name) == k else d for k, d in enumerate(value.shape))
        return gc.array(name, tuple(shape), value.dtype)

    def build() -> Runner:
        p = {name: gc.array(name, shape, case.theta.dtype) for name, shape in case.shapes.items()}
        x = {name: declared(name, value) for name, value in case.inputs.items()}
        loss = case.formula(np, gc, SimpleNamespace(**p), SimpleNamespace(**x))
        f = gc.compile_grad(loss, list(p.values()), inputs=list(x.values()))
        fun = f.bind(*case.inputs.values())
        return Runner(fun, facts=lambda: peers.code_size(f.source))

    return build


def jax(case: ArrayCase) -> Build:
    """jax.jit(jax.value_and_grad(...)) of a dictionary of device arrays, awaited; float64 enabled where it is used."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", case.theta.dtype == np.float64)
    nn = SimpleNamespace(
        relu=jax.nn.relu,
        sigmoid=jax.nn.sigmoid,
        softplus=jax.nn.softplus,
        softmax=jax.nn.softmax,
        logsumexp=jax.nn.logsumexp,
        cross_entropy=lambda z, t: jax.nn.logsumexp(z, axis=-1) - jnp.take_along_axis(z, t[:, None], axis=-1)[:, 0],
        scan=jax.lax.scan,
    )
    x = SimpleNamespace(**{name: jax.device_put(v) for name, v in case.inputs.items()})

    def loss(p: dict[str, Any], x: dict[str, Any]) -> Any:
        return case.formula(jnp, nn, SimpleNamespace(**p), SimpleNamespace(**x))

    def build() -> Runner:
        f = jax.jit(jax.value_and_grad(loss))
        return Runner(
            lambda p: jax.block_until_ready(f(p, vars(x))),
            lambda theta: {name: jax.device_put(v) for name, v in vars(case.parameters(theta)).items()},
            lambda found: (found[0], flat(found[1][name] for name in case.shapes)),
        )

    return build


def flat(parts: Any) -> np.ndarray:
    """Arrays as one vector."""
    return np.concatenate([np.ravel(part) for part in parts])


def torch_tools(case: ArrayCase) -> tuple[Any, Callable[..., Any], Callable[[np.ndarray], Any]]:
    """PyTorch, the loss as a function of a dictionary, and what makes a dictionary of tensors of a vector."""
    import torch

    functional = torch.nn.functional
    nn = SimpleNamespace(
        relu=torch.relu,
        sigmoid=torch.sigmoid,
        softplus=functional.softplus,
        softmax=functional.softmax,
        cross_entropy=lambda z, t: functional.cross_entropy(z, t, reduction="none"),
    )
    x = SimpleNamespace(**{name: torch.from_numpy(v) for name, v in case.inputs.items()})

    def loss(p: dict[str, Any]) -> Any:
        return case.formula(torch, nn, SimpleNamespace(**p), x)

    def prepare(theta: np.ndarray) -> dict[str, Any]:
        return {name: torch.from_numpy(v.copy()) for name, v in vars(case.parameters(theta)).items()}

    return torch, loss, prepare


def torch_eager(case: ArrayCase) -> Build:
    """PyTorch as it is usually written: the loss, then its gradients by torch.autograd."""
    torch, loss, prepare = torch_tools(case)

    def call(p: dict[str, Any]) -> Any:
        found = loss(p)
        return found.detach(), torch.autograd.grad(found, list(p.values()))

    return lambda: Runner(
        call,
        lambda theta: {name: v.requires_grad_() for name, v in prepare(theta).items()},
        lambda found: (found[0], flat(found[1])),
    )


def torch_compiled(case: ArrayCase) -> Build:
    """torch.compile of grad_and_value: one graph forward and backward."""
    torch, loss, prepare = torch_tools(case)

    def build() -> Runner:
        f = torch.compile(torch.func.grad_and_value(loss))
        return Runner(f, prepare, lambda found: (found[1], flat(found[0].values())))

    return build


def products(case: ArrayCase, threads: int = peers.CORES) -> Build:
    """No peer but a bound: the matrix products of loss and gradient alone, by SciPy's BLAS, nothing copied."""
    from scipy.linalg import blas
    from threadpoolctl import threadpool_limits

    gemm = blas.sgemm if case.theta.dtype == np.float32 else blas.dgemm
    rng = np.random.default_rng(0)

    def operands(rows: int, inner: int, columns: int) -> tuple[np.ndarray, ...]:
        shapes = (rows, inner), (inner, columns), (rows, columns)
        return tuple(np.asfortranarray(rng.normal(size=shape), case.theta.dtype) for shape in shapes)

    matrices = [operands(*shape) for shape in case.products]

    def call(_: np.ndarray) -> None:
        for a, b, c in matrices:
            gemm(1.0, a, b, c=c, overwrite_c=1)

    def build() -> Runner:
        threadpool_limits(threads, "blas")
        return Runner(call, read=None)

    return build


def products_alone(case: ArrayCase) -> Build:
    """The same on one thread."""
    return products(case, 1)


def peak(case: ArrayCase) -> Build:
    """The bound of the machine: the operations of the matrix products, at the rate of one large product on all cores.

    The ratio is the share of the peak that is reached.
    """
    operations = sum(2 * rows * inner * columns for rows, inner, columns in case.products)

    def build() -> Runner:
        rate = peers.peak(dtype=case.theta.dtype)
        facts = {"operations": operations, "peak": rate}
        return Runner(lambda _: None, read=None, floor=operations / rate, facts=lambda: facts)

    return build


def read(case: ArrayCase) -> Build:
    """No peer but a bound: the time to read every input once (to sum it) on all cores."""
    return peers.read(Case(lambda *_: None, case.theta, [v.ravel() for v in case.inputs.values()]))
