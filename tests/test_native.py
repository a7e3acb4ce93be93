"""Lowering of generated text: the same bits from machine code, from Numba's front end and from plain Python."""

import re
import textwrap

import numba
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcompile import codegen, compile_grad, vmath
from gradcompile.codegen import emit, statements
from gradcompile.codegen import functions as jit
from gradcompile.errors import SubsetError
from gradcompile.library import primitives
from tests.plain import plain

HEAD = """
from gradcompile.library.sums import LEVELS, SPAN, close_span, close_tree
from gradcompile.library.primitives import bits, empty, fma, from_bits, full, lanes, rarely, zeros
from gradcompile.vmath import exp, sin, tanh
from gradcompile.codegen.functions import jit

LANES = 8
PLACES = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3)
TABLE = (0.5, -1.25, 3.0, 1e300, -0.0)
"""


def loaded(text):
    """The module of a text, compiled."""
    return jit.load(HEAD + textwrap.dedent(text), cache=False)


def same(text, *args, name="f"):
    """The results of both, which have to agree in every bit."""
    copies = [[a.copy() if isinstance(a, np.ndarray) else a for a in args] for _ in range(2)]
    with np.errstate(all="ignore"):
        results = getattr(loaded(text), name)(*copies[0]), plain(HEAD + textwrap.dedent(text))[name](*copies[1])
    for a, b in zip([results[0], *copies[0]], [results[1], *copies[1]], strict=True):
        assert bits_of(a) == bits_of(b), (a, b)
    return results[0]


def bits_of(values):
    """The bits of floats; all NaN count as one."""
    array = np.array(values, float)
    array[np.isnan(array)] = np.nan
    return array.tobytes()


LOOP = """
@jit
def f(out, x, y):
    a = y[0]
    for i in lanes(0, x.shape[0]):
        e = exp(-a * x[i])
        c = e if x[i] < 1.0 else sin(x[i]) + 3.0
        out[i] = fma(c, e, x[i] / y[1]) - tanh(c)
    return out[0]
"""


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 41])
def test_a_loop_over_lanes(n):
    x = np.random.default_rng(n).normal(size=n)
    same(LOOP, np.zeros(n), x, np.array([0.7, 3.0]))


def test_strided_columns_give_the_same_bits():
    rows = np.random.default_rng(0).normal(size=(37, 3))
    f, out, again = loaded(LOOP).f, np.zeros(37), np.zeros(37)
    f(out, rows[:, 1], np.array([0.7, 3.0]))
    f(again, rows[:, 1].copy(), np.array([0.7, 3.0]))
    assert out.tobytes() == again.tobytes()
    f(again, rows[::-1, 1][::-1], np.array([0.7, 3.0]))
    assert out.tobytes() == again.tobytes()


def test_lanes_become_vectors_and_the_rest_scalars():
    tree = codegen.lower(codegen.own_text(loaded(LOOP).f), (("double", (None,), True),) * 3).text
    assert "fmul <8 x double>" in tree and "fmul double" in tree
    text = next(iter(compiled_curve().inspect_asm().values()))
    packed = len(re.findall(r"\bv?(?:mul|add|fmadd\d+)pd\b", text))
    if "mulsd" in text or packed:  # x86: the loop's arithmetic is packed, but for the last samples
        assert packed > 30


def compiled_curve():
    a, b, x, y = sp.symbols("a b x y")
    f = compile_grad((a * sp.exp(-b * x) - y) ** 2, [a, b], data=[x, y], cache=False)
    f.kernel.compile(f.kernel_signature)
    return f.kernel


def test_sums_by_lane():
    text = """
    @jit
    def f(x):
        sums = zeros((2, LANES), x)
        tree = zeros((LEVELS, 2), x)
        totals = zeros(2, x)
        n = x.shape[0]
        for first in range(0, n, SPAN):
            for i in lanes(first, min(first + SPAN, n)):
                sums[0, i % LANES] += x[i]
                sums[1, i % LANES] -= x[i] * x[i]
            close_span(sums, tree, first // SPAN)
        close_tree(tree, totals, (n + SPAN - 1) // SPAN)
        return totals[0] / totals[1]
    """
    for n in (1, 100, 1024, 5000):
        same(text, np.random.default_rng(n).normal(size=n))


def test_gathers_and_scatters():
    text = """
    @jit
    def f(x, out):
        for i in lanes(0, 10):
            out[2 * i + 1] = x[PLACES[i]] + x[3 * i] * TABLE[PLACES[i] % 5]
        for i in range(0, 10):
            out[PLACES[i]] += x[i]
        return out[3] * TABLE[2]
    """
    same(text.replace(" * TABLE[PLACES[i] % 5]", ""), np.arange(30.0) / 7, np.zeros(30))


def test_loops_in_order_change_variables():
    text = """
    @jit
    def f(x):
        total = 0.0
        k = 0
        while total < 10.0:
            for i in range(0, 3):
                total += x[i] * 0.5
            k += 1
        return total + k
    """
    same(text, np.array([0.3, 0.9, 1.7]))


def test_local_arrays_on_the_stack_and_on_the_heap():
    text = """
    @jit
    def f(x):
        small = full((2, 3), -float("inf"), x)
        large = zeros(100000, x)
        for i in lanes(0, 99999):
            large[i] = x[0] * i
        small[1, 2] = large[99998]
        return small[1, 2] + large[99999] + (1.0 if small[0, 0] < 0.0 else 0.0)
    """
    same(text, np.array([0.25]))


def test_rare_lanes_take_the_slow_way():
    text = """
    @jit
    def slow(x):
        return x * 1000.0

    @jit
    def g(x):
        return rarely(slow, x > 2.0, x + 1.0, x)

    @jit
    def f(out, x):
        for i in lanes(0, x.shape[0]):
            out[i] = g(x[i])
        return g(x[0])
    """
    same(text, np.zeros(19), np.linspace(0.0, 3.0, 19))


def test_integers_shift_and_wrap():
    text = """
    @jit
    def f(x):
        return from_bits((bits(x) ^ 1) + (3 << 52)) if (bits(x) & 1) == 0 else from_bits(bits(x) | 7)
    """
    for x in (1.0, 1.5, 0.1, 3e-310):
        same(text, x)


def test_a_foreign_function_is_called_lane_by_lane():
    a, x = sp.symbols("a x")
    f = compile_grad(sp.loggamma(a * x), [a], data=[x])
    x_values = np.linspace(0.5, 4.0, 21)
    loss, grads = f(1.3, x_values)
    from scipy.special import digamma, gammaln

    assert abs(loss - gammaln(1.3 * x_values).mean()) < 1e-14
    assert abs(grads.a - (digamma(1.3 * x_values) * x_values).mean()) < 1e-14


@pytest.fixture
def short_pieces(monkeypatch):
    monkeypatch.setattr(statements, "WHOLE", 5)
    monkeypatch.setattr(statements, "PIECE", 5)


@pytest.mark.usefixtures("short_pieces")
def test_pieces_of_a_long_function_share_what_they_compute():
    lines = ["c = x[0]", "d = c > 0.5", "work = zeros(12, x)"]
    lines += [f"v{k} = {'c' if k < 3 else f'v{k // 2}'} * x[{k % 3}] + {f'v{k - 1}' if k else 'c'}" for k in range(40)]
    lines += ["for i in lanes(0, 9):", "    work[i] = v7 * i", "out[1] = work[8] if d else v3", "out[0] = v39"]
    body = "\n".join("    " + line for line in lines)
    text = f"@jit\ndef f(out, x):\n{body}\n    return v39 + out[1]\n"
    whole = same(text, np.zeros(2), np.array([0.9, 0.7, -0.3]))
    assert np.isfinite(whole)
    kinds = (("double", (None,), True),) * 2
    assert codegen.lower(codegen.own_text(loaded(text + "\n").f), kinds).text.count("piece") > 10


OUTSIDE = [("y = [v for v in x]", "[v for v in x]"), ("with x:\n        y = 1.0", "with x"),
           ("y = x[0] < x[1] < x[2]", "x[0] < x[1] < x[2]"), ("y = nothing", "nothing")]  # fmt: skip


@pytest.mark.parametrize(("line", "what"), OUTSIDE)
def test_what_is_not_of_the_subset_is_named(line, what):
    module = loaded(f"@jit\ndef f(x):\n    {line}\n    return x[0]\n")
    with pytest.raises(codegen.SubsetError, match=re.escape(what)):
        codegen.lower(codegen.own_text(module.f), (("double", (None,), True),))


LOST = [
    ("t = 0.0\n    for k in lanes(0, 8):\n        t += x[k]", "s[i % LANES] += ..., and fold(s)"),
    ("for k in range(3):\n        t = 0.0\n        for i in lanes(0, 8):\n            t = x[i]", "'t' has a value"),
    ("for i in lanes(0, 8):\n        t = 0.0\n        for k in range(3):\n            t += x[i]", "in one over lanes"),
    ("for k in range(3):\n        a = a * x[k]", "a_now = a"),
]


@pytest.mark.parametrize(("lines", "what"), LOST)
def test_what_a_loop_does_not_carry_on_is_refused_with_a_cure(lines, what):
    text = f"@jit\ndef f(x, a):\n    {lines}\n    return x[0]\n"
    with pytest.raises(codegen.SubsetError, match=re.escape(what)):
        codegen.lower(codegen.own_text(loaded(text).f), (("double", (None,), True), ("double", 1)))


def test_plain_python_refuses_what_a_loop_over_lanes_does_not_carry_on(monkeypatch):
    monkeypatch.setattr(codegen.target, "is_disabled", lambda: True)
    with pytest.raises(codegen.SubsetError, match="zeros"):
        loaded(f"@jit\ndef f(x):\n    {LOST[0][0]}\n    return t\n")


SUMMED = """
from gradcompile.library.primitives import fold, to_int

@jit
def f(x, a):
    a_now = a
    for k in range(3):
        a_now = a_now * x[k]
    s = zeros(LANES, x)
    for i in lanes({}, x.shape[0]):
        s[i % LANES] += x[i]
    t = zeros(LANES, x)
    for i in lanes(0, 8):
        t[(i + 3) % LANES] += x[i]
    return a_now + fold(s) + t[3]
"""


@pytest.mark.parametrize("start", ["0", "3", "8", "to_int(a * 6.0)"])
def test_the_cures_compute_what_was_meant(start):
    x = np.arange(1.0, 30.0)
    first = 3 if "a" in start else int(start)
    assert same(SUMMED.format(start), x, 0.5) == 3.0 + sum(x[first:]) + x[0]


@pytest.mark.parametrize(("first", "step", "is_right"), [("0", "LANES", 1), ("LANES", "64", 1), ("0", "3", 0)])
def test_those_who_call_a_sum_in_lanes_begin_at_a_multiple(first, step, is_right):
    text = f"""
from gradcompile.library.primitives import fold

@jit
def part(x, start):
    s = zeros(LANES, x)
    for i in lanes(start, x.shape[0]):
        s[i % LANES] += x[i]
    return fold(s)

@jit
def f(out, x):
    for k in range({first}, x.shape[0], {step}):
        out[k] = part(x, k)
    return out[0]
"""
    if is_right:
        same(text, np.zeros(99), np.arange(99.0))
        return
    with pytest.raises(codegen.SubsetError, match="pass a multiple of"):
        codegen.lower(codegen.own_text(loaded(text).f), (("double", (None,), True),) * 2)


NAMES = ("a", "b", "c")
EXPRESSIONS = st.recursive(
    st.sampled_from([*NAMES, "0.5", "-0.0", "2.0", "3"]),
    lambda e: st.one_of(
        st.tuples(st.sampled_from("+-*/"), e, e).map(lambda t: f"({t[1]} {t[0]} {t[2]})"),
        st.tuples(e, e, e, st.sampled_from(["<", ">=", "==", "!="])).map(
            lambda t: f"({t[0]} if {t[1]} {t[3]} {t[2]} else {t[2]})"
        ),
        e.map(lambda x: f"-{x}"),
    ),
    max_leaves=12,
)


@settings(max_examples=25, deadline=None)
@given(EXPRESSIONS, EXPRESSIONS)
def test_random_expressions_agree_in_vectors_scalars_and_python(first, second):
    literal = re.compile(r"(?<![\w.])(\d+\.?\d*)(?![\w.])")
    first, second = (literal.sub(lambda m: f"({m[1]} + zero)", e) for e in (first, second))
    text = f"""
    @jit
    def f(out, x, y, z):
        zero = y[0] * 0.0
        b = y[0]
        for i in lanes(0, x.shape[0]):
            a = x[i]
            c = z[i]
            out[i] = {first} + {second}
        return out[0]
    """
    x = np.array([0.0, -0.0, 1.0, np.inf, np.nan, -2.5, 1e300, 1e-310, 0.3, 7.0, -1.0])
    same(text, np.zeros(11), x, np.array([1.25]), x[::-1].copy())


def test_numba_compiles_the_same_text_to_the_same_bits():
    a, b, x, y = sp.symbols("a b x y")
    f = compile_grad(sp.sqrt((a * sp.exp(-b * x) - y) ** 2 + 1) * sp.tanh(a * x), [a, b], data=[x, y])
    space = {}
    text = re.sub(r"^from gradcompile.*import (?:lanes|jit|LEVELS).*$", "", f.source, flags=re.MULTILINE)
    zeros = numba.njit(lambda shape, like: np.zeros(shape, like.dtype))
    from gradcompile.library import sums

    space |= {"jit": numba.njit(error_model="numpy"), "lanes": range, "zeros": zeros, "SPAN": sums.SPAN}
    space |= {"LEVELS": sums.LEVELS}
    for name in ("close_span", "close_tree"):
        space[name] = numba.njit(codegen.own_text(getattr(sums, name)))
    exec(text, space)
    rng = np.random.default_rng(0)
    theta, columns, grad = np.array([1.2, 0.4]), rng.normal(size=(2, 2500)), np.empty(2)
    loss = space["kernel"](theta, grad, columns[0].copy(), columns[1].copy())
    want = f.flat(theta, columns[0].copy(), columns[1].copy())
    assert loss == want[0] and grad.tobytes() == want[1].tobytes()


def test_vmath_works_in_a_users_own_function():
    @numba.njit
    def total(values):
        result = 0.0
        for v in values:
            result += vmath.exp(v) + vmath.sin(2)
        return result

    assert abs(total(np.zeros(3)) - 3 * (1 + np.sin(2.0))) < 1e-14


def test_primitives_have_one_meaning():
    assert set(emit.INTRINSICS) <= set(primitives.__all__)


def test_a_function_with_a_loop_that_is_called_twice_has_its_code_once():
    module = loaded(
        """
        @jit
        def total(x):
            result = 0.0
            for k in range(x.shape[0]):
                result += x[k]
            return result

        @jit
        def twice(x, y):
            return total(x) * total(y)
        """
    )
    kinds = (codegen.kind_of(numba.float64[::1]),) * 2
    heads = [
        line for line in codegen.lower(codegen.own_text(module.twice), kinds).text.splitlines() if ".total(" in line
    ]
    assert [line.startswith("define internal") and " noinline " in line for line in heads].count(True) == 1
    assert module.twice(np.ones(3), np.ones(2)) == 6.0


def test_quotients_and_remainders_of_integers_round_down():
    text = """
    @jit
    def f(out, p, d):
        for i in lanes(0, p.shape[0]):
            out[0, i] = p[i] % d[i]
            out[1, i] = p[i] // d[i]
            out[2, i] = p[i] % 4 + 100.0 * (p[i] // 8)
            out[3, i] = p[i] % 5 + 100.0 * (p[i] // 5)
            out[4, i] = p[i] % -3 + 100.0 * (p[i] // -3)
            out[5, i] = 7 % d[i] + 100.0 * (7 // d[i])
    """
    p, d = (a.ravel() for a in np.meshgrid(np.arange(-9, 10), [-8, -3, -2, -1, 1, 2, 3, 8]))
    out = np.zeros((6, len(p)))
    same(text, out, p, d)
    loaded(text).f(out, p, d)
    rows = [p % d, p // d]
    rows += [p % 4 + 100 * (p // 8), p % 5 + 100 * (p // 5), p % -3 + 100 * (p // -3), 7 % d + 100 * (7 // d)]
    assert np.array_equal(out, rows)
    least = np.array([np.iinfo(np.int64).min, 5])
    loaded(text).f(out := np.zeros((6, 2)), least, np.array([-1, 0]))
    assert out[:2, 1].tolist() == [0, 0]  # what Python refuses, and processors trap at


@pytest.mark.parametrize(("body", "x"), [("x % 2.0", 1.5), ("x // 2.0", 1.5), ("exp(x)", np.float32(1.5))])
def test_what_the_subset_has_not_is_refused(body, x):
    with pytest.raises(SubsetError):
        loaded(f"""
        @jit
        def f(x):
            return {body}
        """).f(x)
