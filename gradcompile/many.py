"""Many losses of the same arguments in one module, which computes what they share once: what `compile_many` returns."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import index
from typing import Any

import numpy as np

from gradcompile.derivatives import CompiledJacobian, Found, random_signs
from gradcompile.explain import weighted
from gradcompile.gradient import CompiledGrad
from gradcompile.once import once
from gradcompile.pipeline import Options
from gradcompile.signature.arguments import Problem


class CompiledMany(CompiledJacobian):
    """Compiled losses: m(*params, *inputs) -> (losses, grads), of shapes (k,) and (k, size).

    `m[i]` is one of them as `compile_grad` gives it, with the arguments of all; it is compiled when it is called.
    """

    what = "losses"

    def __init__(self, problem: Problem, options: Options, formulas: Sequence[object]) -> None:
        super().__init__(problem, options)
        self.formulas, self._more = formulas, (formulas,)

    def _formed(self, found: Found, like: Any = None) -> Any:
        losses, grads = found.arrays
        return losses, grads.reshape(len(losses), self.size)

    def _flat(self, formed: Any, width: int) -> np.ndarray:
        whole: np.ndarray = np.reshape(formed, (-1, width))
        return whole

    def _signed(self, values: Any) -> Any:
        signs = random_signs(len(values))
        return *weighted(self.problem.primals, list(signs)), signs

    @once
    def _each(self) -> Sequence[Problem]:
        alone = zip(self.problem.primals, self.formulas, strict=True)
        return [replace(self.problem, primals=(p,), said=said) for p, said in alone]

    def __len__(self) -> int:
        return len(self.problem.primals)

    def __iter__(self) -> Iterator[CompiledGrad]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> CompiledGrad:
        k = index(k)
        found = self._made.get(k % len(self)) if -len(self) <= k < len(self) else None
        if found is None:
            found = CompiledGrad(self._each[k], self.options)
            self._made[k % len(self)] = found
        return found

    @once
    def _made(self) -> dict[int, CompiledGrad]:
        return {}
