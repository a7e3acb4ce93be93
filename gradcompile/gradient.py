"""A compiled loss with its gradient: what `compile_grad` returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradcompile.analysis.formula import formulas
from gradcompile.collector import collector_paused
from gradcompile.compiled import Compiled, CompiledValue, grads_type
from gradcompile.diff import operators
from gradcompile.errors import ArgumentError, ExpressionError, GradcompileError, printable
from gradcompile.ir.core import Node
from gradcompile.once import once
from gradcompile.pipeline import Options, formula_of, prepared
from gradcompile.runtime import bind
from gradcompile.runtime.matching import Call
from gradcompile.runtime.views import NAMES, Views
from gradcompile.signature.arguments import Problem
from gradcompile.tracebacks import entry, shorten, with_entries

if TYPE_CHECKING:  # what not every loss needs is loaded when it is asked for
    from gradcompile.derivatives import CompiledHessian, CompiledHvp, CompiledMixed, PerSample
    from gradcompile.explain import Blame, Check, Diagnosis, Drawing, Explanation, Flow, Record, Watch, Why


@with_entries
class CompiledGrad(Compiled):
    """A compiled loss with its gradient: f(*params, *inputs) -> (loss, grads)."""

    # The call is an attribute of the object: Python gets to it without a function in between, which is a third of the
    # cost of a call. It gives the loss and its gradient in every parameter; out=: a vector of length `size` into which
    # the flat gradient is written, and which is then returned in place of the gradients.
    __slots__ = ("__call__",)
    __call__: Callable[..., Any]

    what = "loss"
    operator = staticmethod(operators.gradient)

    def __init__(self, problem: Problem, options: Options) -> None:
        super().__init__(problem, options)
        self._grads = grads_type(tuple(a.name for a in problem.params))
        self.__call__ = self._first_call

    @entry
    def _first_call(self, /, *args: Any, **named: Any) -> Any:
        """Loss and gradient: f(*params, *inputs) -> (loss, grads), also by name; see `f.signature`.

        args: values by name, whatever the names. out: a vector of length f.size, for the gradient as `f.flat` gives it,
        which is then returned in place of grads.
        """
        self.__call__ = self._call
        return self.__call__(*args, **named)

    @once
    def _call(self) -> Callable[..., Any]:
        problem = self.problem
        call = bind.make_call(problem.params, problem.inputs, self._route, self._grads, problem.bare)
        call.__doc__, call.__signature__ = type(self)._first_call.__doc__, self.signature  # type: ignore[attr-defined]
        return call

    def flat(self, theta: Any, /, *inputs: Any, **named: Any) -> tuple[float, np.ndarray]:
        """The loss and its gradient as one vector."""
        try:
            values = Call(self.problem.inputs, "f.flat(theta, ").match(inputs, named)
            return bind.flat(self._route, values, theta, self.size)
        except GradcompileError as error:
            shorten(error)
            raise

    def many(self, thetas: Any, /, *inputs: Any, **named: Any) -> tuple[np.ndarray, np.ndarray]:
        """Losses (m,) and gradients (m, size) at m points in one call that threads share: chains, ensembles, starts.

        thetas: an array (m, size) whose rows are laid out as f.pack lays out the parameters, or a mapping of them, each
        with an axis of m in front; the inputs are the same for all. Each row has the bits of a call of its own.

        >>> import sympy as sp
        >>> from gradcompile import compile_grad
        >>> a, b, x = sp.symbols("a b x")
        >>> f = compile_grad((a - x)**2 + b, [a, b])
        >>> f.many([[1.0, 0.0], [2.0, 5.0]], 3.0)
        (array([4., 6.]), array([[-4.,  1.],
               [-2.,  1.]]))
        """
        from gradcompile.runtime import rows

        values = Call(self.problem.inputs, "f.many(thetas, ").match(inputs, named)
        points = rows.stacked(self.problem.params, thetas, self.dtype)
        converted = bind.convert_all(self.problem.inputs, values)
        self._route.check(converted)
        return rows.evaluate(self._route, points, converted)

    def bind(self, /, *inputs: Any, **named: Any) -> Callable[..., tuple[float, np.ndarray]]:
        """Check and convert the inputs once; the result is called as fun(theta) -> (loss, grad), as SciPy wants it.

        Arrays of the right dtype are bound by reference: changes of their entries are seen. That indices are inside
        their axes is checked here; one that is changed to a place outside gives NaN.

        fun.fun, fun.jac and fun.value_and_grad are views for SciPy, which share one evaluation at one theta.
        """
        values = Call(self.problem.inputs, "f.bind(").match(inputs, named)
        converted = bind.convert_all(self.problem.inputs, values)
        return Bound(self, converted).fun

    @once
    def loss(self) -> CompiledValue:
        """The loss alone, from a kernel that computes nothing else; called as the function itself."""
        return CompiledValue(self.problem, self.options, "f.loss(")

    @once
    def hessian(self) -> "CompiledHessian":
        """The loss with gradient and Hessian, as `compile_hessian` gives it."""
        from gradcompile.derivatives import CompiledHessian

        return CompiledHessian(self.problem, self.options)

    @once
    def hvp(self) -> "CompiledHvp":
        """The loss with gradient and products of the Hessian, as `compile_hvp` gives it."""
        from gradcompile.derivatives import CompiledHvp, with_vector

        return CompiledHvp(with_vector(self.problem, CompiledHvp.along), self.options)

    def _mixed(self, position: int) -> "CompiledMixed":
        """The derivative of the gradient's products in an input, made once."""
        from gradcompile.derivatives import CompiledMixed, with_vector

        if position not in self._kept:
            problem = with_vector(self.problem, CompiledMixed.along)
            self._kept[position] = CompiledMixed(problem, self.options, position + 1)
        return self._kept[position]  # type: ignore[no-any-return]

    @once
    def _kept(self) -> dict[Any, Any]:
        """What was made of it, and what searches keep for the next."""
        return {}

    def per_sample(self, /, *args: Any, what: operators.What = "gradients", **named: Any) -> tuple[Any, np.ndarray]:
        """The loss of each sample, and of its gradient what is asked for; of a loss that is a mean or sum of samples.

        what: "gradients" (n, size), their "norms" (n,), or "moments" (size, size), the mean of g g' over the samples,
        as robust standard errors need it. The first result is (n,), each sample's own value, which the loss is the mean
        or the sum of. Norms and moments are made block by block: nothing of n times size is stored.

        Raises ExpressionError where the loss has other terms, or a sample's value depends on other samples.

        >>> import sympy as sp
        >>> from gradcompile import compile_grad
        >>> a, x, y = sp.symbols("a x y")
        >>> f = compile_grad((a*x - y)**2, [a], data=[x, y])
        >>> f.per_sample(2.0, [1.0, 2.0], [0.0, 4.0])
        (array([4., 0.]), array([[4.],
               [0.]]))
        """
        if what not in ("gradients", "norms", "moments"):
            raise ArgumentError(f"what={what!r}: choose 'gradients', 'norms' or 'moments'")
        if what == "moments":
            return self._samples("values")(*args, **named)[0], self._samples(what)(*args, **named)[1]
        found: tuple[Any, np.ndarray] = self._samples(what)(*args, **named)
        return found

    def _samples(self, what: operators.What) -> "PerSample":
        """What computes something of each sample, made once."""
        from gradcompile.derivatives import PerSample

        if what not in self._kept:
            self._kept[what] = PerSample(self.problem, self.options, what)
        return self._kept[what]  # type: ignore[no-any-return]

    @property
    def gradients(self) -> Any:
        """The gradient as SymPy expressions, for scalar parameters: a named tuple, or one expression if bare."""
        if self.problem.arrays:
            raise ArgumentError("gradients are expressions in SymPy; a loss written with arrays has its .graph")
        for a in self.problem.params:
            if a.leaf.type.shape:
                raise ArgumentError(
                    f"gradients are expressions for scalar parameters; {a.name} has shape {a.leaf.type.shape}"
                )
        from gradcompile.frontend.sympy.to_sympy import to_sympy

        found = to_sympy(self._as_written.graphs.simplified[1:], self.problem.symbols)
        return found[0] if self.problem.bare else self._grads(*found)

    def explain(self, /, *args: Any, **named: Any) -> "Explanation":
        """Every node with its value and its adjoint, as on the blackboard, and the chain rule written out.

        `.rows` has name, formula, value, adjoint, which is None for an input, and `.args`: each operand with the local
        derivative and the term that it gets. By name: `f.explain(2.0)["diff"].adjoint`.
        `.to("latex" | "json" | "markdown" | "html")` writes it for other places.

        sample=k: of the loss of that sample alone.  sample="mean": values averaged over the samples, adjoints summed.
        """
        return self._explained(args, named, "f.explain(")

    def _explained(self, args: Sequence[Any], named: dict[str, Any], head: str) -> "Explanation":
        """The rows of all samples, of one, or of their mean."""
        from gradcompile.explain import Explanation, of_sample, rows, steps

        which = self._word("sample", named)
        with collector_paused():
            made = self._record(args, named, head, of_sample(self.problem, which))
            return Explanation(rows(made, mean=which == "mean"), steps(made))

    def draw(self, /, *args: Any, **named: Any) -> "Drawing":
        """The graph at these arguments with every value and adjoint; it shows itself in a notebook.

        to="graph.svg": a picture.  to="graph.html": a page of its own in which arrow keys go through the backward pass
        and a click shows the paths to the loss.  to="graph.dot": for Graphviz.  sample: as in `explain`.
        Colour is the size of the adjoint, a decade a shade; a box with a thick frame is used more than once. Above 400
        nodes runs of them are folded into one box. What is inside a scan is framed below, with the steps along axis 0.

        The layout needs fast-sugiyama: pip install 'gradcompile[pictures]'.
        """
        from gradcompile.explain import Drawing

        to = self._word("to", named)
        made = self._explained(args, named, "f.draw(")
        found = Drawing(made.rows, formula_of(self.problem), made.steps)
        if to is not None:
            with collector_paused():
                found.save(to)
        return found

    def why(self, param: Any, /, *args: Any, **named: Any) -> "Why":
        """Why the gradient of a parameter is zero, infinite or NaN at these arguments; `print` shows a sentence.

        param: a symbol, an array, or its name. The answer has `.verdict`, `.cause`, `.node`, `.formula`, `.share` of
        the entries there, `.sample` and `.operands` of the first bad one, and `.path`.

        >>> import sympy as sp
        >>> from gradcompile import compile_grad
        >>> w, x = sp.symbols("w x")
        >>> f = compile_grad(sp.Max(w*x, 0)**2 + w, [w, x])
        >>> print(f.why("x", -2.0, 3.0))
        The gradient of x is zero: dead relu at max_0_wx_squared = max(0, w*x)**2: its argument is -6, ...
        """
        from gradcompile.explain import why

        name = getattr(param, "name", None) or str(param)
        leaves = {a.name: a.leaf for a in self.problem.params} | {self.problem.names[n]: n for n in self.problem.names}
        known = {str(a.original): a.name for a in self.problem.params}
        name = known.get(name, name)
        if name not in leaves:
            raise ArgumentError(f"{name!r} is no parameter; they are {', '.join(a.name for a in self.problem.params)}")
        return why(self._record(args, named, "f.why(param, "), name, leaves[name])

    def _trouble(self, args: Mapping[str, Any]) -> str:
        """What is not finite at these arguments, and why, in a sentence; empty if all is."""
        from gradcompile.explain import trouble

        return trouble(self._record((), {"args": args}, "f.why(param, "))

    def flow(self, /, *args: Any, **named: Any) -> "Flow":
        """How adjoints flow through the layers: their sizes, dead and saturated units, gradient by weights; a verdict.

        `.verdict` is "vanishing", "exploding", "dead", "saturated" or "healthy"; `print` shows why, the source in the
        literature, what to try, and a table of `.layers`.
        """
        from gradcompile.explain import flow

        return flow(self._record(args, named, "f.flow("))

    def watch(self, /, *inputs: Any, **named: Any) -> "Watch":
        """A callback of `sgd` and `train` that keeps the flow after each epoch, at these inputs, in `.records`.

        `.verdicts` has what was said, `.plot("flow.svg")` draws it; several runs: gradcompile.explain.side_by_side.
        """
        from gradcompile.explain import Watch

        return Watch(self.flow, self.problem.params, inputs, named)

    def blame(self, /, *args: Any, **named: Any) -> "Blame":
        """What the loss is made of here: its terms, the samples whose gradients are largest, sensitivity by parameter.

        >>> import sympy as sp
        >>> from gradcompile import compile_grad
        >>> w, x, y = sp.symbols("w x y")
        >>> f = compile_grad((w*x - y)**2, [w], data=[x, y])
        >>> f.blame(1.0, [1.0, 2.0, 3.0], [1.0, 2.0, 9.0]).samples[0]
        (2, 1.0)
        """
        from gradcompile.explain import blame

        made = self._record(args, named, "f.blame(")
        try:
            norms = self.per_sample(*args, what="norms", **named)[1] if self.problem.is_sampled else None
        except ExpressionError:  # of no mean or sum of samples
            norms = None
        return blame(made, norms)

    def report(self, /, *args: Any, **named: Any) -> str:
        """A page of its own, without network: formula, gradient, graph, flow, fit, training and source of the loss.

        to="loss.html": where it is written.  fit, training: results to show on it, one or several by name.
        A click on a part of the formula, a box of the graph or a comment of the source shows it in all of them.
        """
        from gradcompile.explain import Explanation, Subject, flow, report, rows, steps

        to, fit, training = (self._word(word, named) for word in ("to", "fit", "training"))
        if to is not None and Path(to).suffix.lower() not in (".html", ".htm"):
            raise ArgumentError(f"to={str(to)!r}: a report is written as .html")
        made = self._record(args, named, "f.report(")
        known, cost = dict(self.problem.names), self.cost
        per = " a sample" if cost.bytes_per_sample else ""
        grads = self._as_written.graphs.simplified[1:]
        texts = formulas([made.loss, *grads], known, 400)
        page = report(
            Subject(
                f"{printable(self.options.name) or 'loss'}{self.signature}", texts[made.loss],
                Explanation(rows(made), steps(made)),
                {a.name: texts[g] for a, g in zip(self.problem.params, grads, strict=True)}, self.source,
                f"{cost.loss} operations for the loss, {cost.loss_and_gradient} with the gradient{per}.", flow(made),
            ), fit, training,
        )  # fmt: skip
        if to is not None:
            Path(to).write_text(page, "utf-8")
        return page

    def diagnose(self, /, *args: Any, **named: Any) -> "Diagnosis":
        """The digits that each node of the loss loses at these arguments, as it is written and as it is compiled.

        Values in floats are compared with 50 digits, so call it with a few samples. `.guilty` is the node that loses
        most, `.rows` has all, `.rewrites` what was changed for accuracy; `print` shows a sentence and the losers.

        >>> import sympy as sp
        >>> from gradcompile import compile_grad
        >>> x = sp.symbols("x")
        >>> print(compile_grad((1 - sp.cos(x))/x**2, [x]).diagnose(1e-7).guilty.formula)
        1 - cos(x)
        """
        from gradcompile.explain import diagnose

        values = self._leaf_values(args, named, "f.diagnose(")
        literal = replace(self.options, reroll=False, stabilize=False)
        return diagnose(self.problem, prepared(self.problem, literal)[0][0], self._terms, values, self.rewrites)

    def _word(self, word: str, named: dict[str, Any]) -> Any:
        """What a word of a call is given, None if nothing; a symbol of that name comes first."""
        return None if any(a.name == word for a in self._arguments) else named.pop(word, None)

    def _record(
        self, args: Sequence[Any], named: Mapping[str, Any], head: str, change: Callable[[Any], Any] | None = None
    ) -> "Record":
        """Every value and adjoint at these arguments, of the loss as it is differentiated, terms written one by one."""
        from gradcompile.explain import record

        values = self._leaf_values(args, named, head)
        return record(self.problem, self._terms, values if change is None else change(values))

    @once
    def _terms(self) -> Node:
        """The loss as it is differentiated, without loops over similar terms."""
        return prepared(self.problem, replace(self.options, reroll=False))[0][0]

    def check(self, /, *args: Any, **named: Any) -> "Check":
        """The compiled gradient against central differences of the loss as it was written, in 60 digits.

        Returns the worst error, |x - y| / max(1, |x| + |y|), the entry it is in, and both values. Costs two
        evaluations in high precision for each entry of theta, for 32 of them and a step in all at most: call it with a
        few samples.
        """
        from gradcompile.explain import check

        values = self._leaf_values(args, named, "f.check(")
        inputs = [values[a.leaf] for a in self.problem.inputs]
        theta = self.pack(*(values[a.leaf] for a in self.problem.params))
        gradient = bind.flat(self._route, inputs, theta, self.size)[1]
        return check(gradient, self.problem.primal, self.problem.params, values)


class Bound(NamedTuple):
    """A loss with its inputs. `fun` is a method of it, since that is called like a function and can be pickled."""

    compiled: CompiledGrad
    inputs: list[Any]

    @property
    def fun(self) -> Callable[..., tuple[float, np.ndarray]]:
        """What `CompiledGrad.bind` returns; the views are attributes of the function, so those of the method too."""
        f = self.compiled
        function = bind.make_bound(f._route, f.problem.params, self.inputs, f.size, f.dtype)
        method = MethodType(function, self)
        views = Views(lambda theta, _: method(theta), self.inputs)
        for name in NAMES:
            setattr(function, name, getattr(views, name))
        return method
