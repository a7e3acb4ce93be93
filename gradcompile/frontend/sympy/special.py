"""SymPy's special functions by those of the table of ops."""

from typing import Any

import sympy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.sympy.scalars import (
    HANDLERS,
    Context,
    Conversion,
    Handler,
    call,
    formula,
    simple,
    unsupported,
    with_order,
)
from gradcompile.ir.core import Node, apply
from gradcompile.signature.names import text

EULER_GAMMA = 0.5772156649015329
LI_OF_TWO = 1.045163780117493  # li(2)


def zeta(c: Context, s: Node, a: Node | None = None) -> Node:
    """Riemann's zeta function, or Hurwitz's, for s > 1."""
    return apply("zeta", s, c.const(1.0) if a is None else a)


def harmonic(expr: Any) -> Conversion:
    """Harmonic numbers of real arguments."""
    order = expr.args[1] if len(expr.args) > 1 else sympy.S.One
    if order == 1:
        return Conversion(expr.args[:1], lambda c, n: apply("digamma", n + c.const(1.0)) + c.const(EULER_GAMMA))
    return Conversion(expr.args, lambda c, n, m: apply("zeta", m, c.const(1.0)) - apply("zeta", m, n + c.const(1.0)))


def expint(expr: Any) -> Conversion:
    """Exponential integrals of whole orders."""
    order, x = expr.args
    if order.is_Integer and order <= 0:
        return Conversion((sympy.expand_func(expr),), lambda c, value: value)
    if order == 1:
        return Conversion((x,), call("exp1"))
    return with_order("expint", whole=True)(expr)


def polylog(expr: Any) -> Conversion:
    """The dilogarithm; of other orders what SymPy writes by logarithms and powers."""
    order, _ = expr.args
    if order == 2:
        return Conversion(expr.args[1:], lambda c, z: apply("spence", c.const(1.0) - z))
    opened = sympy.expand_func(expr)
    if opened.has(sympy.polylog):
        raise ExpressionError(f"{text(expr)}: of polylogarithms order 2 and those up to 1 are functions that are known "
                              "here; write a custom function")  # fmt: skip
    return Conversion((opened,), lambda c, value: value)


def hypergeometric(expr: Any) -> Conversion:
    """1F1 and 2F1; what SymPy writes by other functions."""
    above, below, x = expr.args
    name = {(1, 1): "hyp1f1", (2, 1): "hyp2f1"}.get((len(above), len(below)))
    if name is None:
        opened = sympy.hyperexpand(expr)
        return Conversion((opened,), lambda c, value: value) if opened != expr else unsupported(expr)
    return Conversion((*above, *below, x), call(name))


def beta_between(c: Context, a: Node, b: Node, low: Node, high: Node) -> Node:
    """The part of the beta distribution between two places."""
    return apply("betainc", a, b, high) - apply("betainc", a, b, low)


def elliptic_e(c: Context, *args: Node) -> Node:
    """The elliptic integral of the second kind, complete or not."""
    return apply("ellipe" if len(args) == 1 else "ellipeinc", *args)


def spherical(whole: Any) -> Handler:
    """A spherical Bessel function, by the Bessel function of half an order more."""

    def handle(expr: Any) -> Conversion:
        order, x = expr.args
        return Conversion((sympy.sqrt(sympy.pi / (2 * x)) * whole(order + sympy.Rational(1, 2), x),), lambda c, v: v)

    return handle


HANDLERS.update({
    sympy.Ei: simple("expi"),
    sympy.expint: expint,
    sympy.li: formula(lambda c, x: apply("expi", apply("log", x))),
    sympy.Li: formula(lambda c, x: apply("expi", apply("log", x)) - c.const(LI_OF_TWO)),
    sympy.Si: simple("si"),
    sympy.Ci: simple("ci"),
    sympy.Shi: simple("shi"),
    sympy.Chi: simple("chi"),
    sympy.erf2: formula(lambda c, x, y: apply("erf", y) - apply("erf", x)),
    sympy.lowergamma: formula(lambda c, a, x: apply("gamma", a) * apply("gammainc", a, x)),
    sympy.uppergamma: formula(lambda c, a, x: apply("gamma", a) * apply("gammaincc", a, x)),
    sympy.betainc_regularized: formula(beta_between),
    sympy.betainc: lambda expr: Conversion((sympy.beta(*expr.args[:2]) * sympy.betainc_regularized(*expr.args),),
                                           lambda c, value: value),
    sympy.elliptic_k: simple("ellipk"),
    sympy.elliptic_f: simple("ellipkinc"),
    sympy.elliptic_e: formula(elliptic_e),
    sympy.zeta: formula(zeta),
    sympy.dirichlet_eta: lambda expr: Conversion(((1 - 2 ** (1 - expr.args[0])) * sympy.zeta(expr.args[0]),),
                                                 lambda c, value: value),
    sympy.harmonic: harmonic,
    sympy.polylog: polylog,
    sympy.hyper: hypergeometric,
    sympy.jn: spherical(sympy.besselj),
    sympy.yn: spherical(sympy.bessely),
})  # fmt: skip
