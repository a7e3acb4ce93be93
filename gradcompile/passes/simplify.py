"""Simplification by exact rules: the value stays the same to the bit, NaN, infinities and signed zeros included.

Rules are small functions in a table by op; each gets a node whose arguments are simplified already and returns what to
put in its place, or None. `share_reciprocals` is the one step that may round differently, and says so.
"""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter

import numpy as np

from gradcompile.ir.algebra import add, assemble, broadcast_to, expand, is_div, is_neg, is_select, length_along, select
from gradcompile.ir.core import Node, apply, const, is_const
from gradcompile.ir.graph import rebuild, topological, with_new
from gradcompile.ir.types import Dim, dim_product, dim_sum, parsed
from gradcompile.ops.contract import is_dot
from gradcompile.ops.scan import is_scan, map_body
from gradcompile.ops.shape import Index, Span, is_assemble, is_broadcast, is_item, is_reshape

Rule = Callable[[Node], Node | None]
FEW_TERMS = 8
LARGEST_POWER = 64
is_simple = attrgetter("simple")


def simplify(roots: Sequence[Node]) -> list[Node]:
    """The roots with every rule applied, arguments first; what was found simple before is not looked at again."""
    return rebuild(roots, simplify_node, settled=is_simple)


def simplify_node(n: Node) -> Node:
    """One node, by the first rule that has something to say, until none has; the node remembers that none had."""
    while not n.simple:
        found = first_found(n)
        if found is n:
            n.simple = all(map(is_simple, n.args))
            break
        n = found
    return n


def first_found(n: Node) -> Node:
    """What the first rule that has something to say puts in the node's place; the node if there is none."""
    for rule in (RULES if n.type.shape else SCALAR_RULES).get(n.op.name, GENERAL):
        found = rule(n)
        if found is not None:
            return found
    return n


def fold(n: Node) -> Node | None:
    """An elementwise op of constants is its value, if that is finite.

    An infinity is left to be seen where it arises.
    """
    if not (n.args and is_const(n.args[0]) and all(map(is_const, n.args))) or n.op.takes_arrays or n.op.is_copy:
        return None
    with np.errstate(all="ignore"):
        value = n.op.value(*(np.dtype(a.type.dtype).type(a.value) for a in n.args), *n.params)
    if n.type.dtype == "bool":
        return const(bool(value), "bool")
    return const(value, n.type.dtype) if math.isfinite(value) else None


def one_term(n: Node) -> Node | None:
    """x + (-0.0) = x, of whole numbers x + 0 = x; an addition of one term is the term."""
    nothing = 0 if n.type.dtype == "int64" else -0.0
    kept = [a for a in n.args if not is_const(a, nothing)] or list(n.args[:1])
    if len(kept) == 1:
        return kept[0] if kept[0].type == n.type else None
    return add(*kept) if len(kept) < len(n.args) and add(*kept).type == n.type else None


def negative_last(n: Node) -> Node | None:
    """-1 + x = x - 1."""
    c, *rest = n.args
    return add(*rest, c) if len(rest) == 1 and is_const(c) and c.value < 0 and not is_const(rest[0]) else None


def doubled(n: Node) -> Node | None:
    """x + x = 2*x."""
    return const(2.0, n.type.dtype) * n.args[0] if len(n.args) == 2 and n.args[0] is n.args[1] else None


def assembled(n: Node) -> Node | None:
    """A sum of arrays that hold single entries is one array; entries of one place are added."""
    if not (is_assemble(n.args[0]) and all(is_assemble(a) and a.type.shape == n.type.shape for a in n.args)):
        return None
    entries: dict[Index, list[Node]] = {}
    for a in n.args:
        for index, value in zip(a.params[1], a.args, strict=True):
            entries.setdefault(index, []).append(value)
    values = [simplify_node(add(*v)) if len(v) > 1 else v[0] for v in entries.values()]
    return assemble(values, n.args[0].params[0], tuple(entries))


def unit_factor(n: Node) -> Node | None:
    """1*x = x and (-1)*x = -x, repeated where the one is."""
    for one, other in (n.args, n.args[::-1]):
        number = unrepeated(one)
        if other.type.dtype == n.type.dtype and (is_const(number, 1.0) or is_const(number, -1.0)):
            return expand(other if is_const(number, 1.0) else simplify_node(-other), n.type.shape)
    return None


def square_of_abs(n: Node) -> Node | None:
    """|x|*|x| = x*x, which has no kink: its second derivative at 0 is 2."""
    x, y = n.args
    return x.args[0] * x.args[0] if x is y and x.op.name == "abs" else None


def signs_out(n: Node) -> Node | None:
    """(-x)*y = -(x*y), and the same of a quotient."""
    x, y = n.args
    if x.op.name == "neg":
        return -simplify_node(apply(n.op.name, x.args[0], y))
    if y.op.name == "neg":
        return -simplify_node(apply(n.op.name, x, y.args[0]))
    return None


def constants_together(n: Node) -> Node | None:
    """c*(d*x) = (c*d)*x if one is a power of two, and c*((d*x)*y) = ((c*d)*x)*y if c is; constants go first.

    Powers of two shift the exponent and nothing else, unless a product on the way is subnormal or overflows.
    """
    c, x = n.args
    if is_const(x) and not is_const(c):
        return x * c
    if x.op.name != "mul" or not is_const(c):
        return None
    if is_const(x.args[0]) and any(map(is_small_power_of_two, (c, x.args[0]))):
        return const(c.value * x.args[0].value, n.type.dtype) * x.args[1]
    if not is_small_power_of_two(c):
        return None
    for y_first, (y, other) in ((True, x.args), (False, x.args[::-1])):
        if y.op.name == "mul" and is_const(y.args[0]):
            y = simplify_node(const(c.value * y.args[0].value, n.type.dtype) * y.args[1])
            return apply("mul", *((y, other) if y_first else (other, y)))
    return None


def is_small_power_of_two(c: Node) -> bool:
    """Whether multiplying by the node shifts the exponent a little and does nothing else."""
    value = float(c.value) if is_const(c) else 0.0
    return 2.0**-10 <= abs(value) <= 2.0**10 and abs(math.frexp(value)[0]) == 0.5


def reciprocal_factor(n: Node) -> Node | None:
    """x*(1/y) = x/y, with one rounding fewer; a reciprocal that stands outside the product's loop stays."""
    for x, r in (n.args, n.args[::-1]):
        if r.op.name == "div" and is_const(r.args[0], 1.0) and not is_const(x) and r.type == n.type:
            return x / r.args[1]
    return None


def unit_divisor(n: Node) -> Node | None:
    """x/1 = x, and x/c = x*(1/c) where c is a power of two."""
    x, y = n.args
    if not is_const(y) or x.type != n.type:
        return None
    c = float(y.value)
    if c == 1.0:
        return x
    if math.isfinite(c) and c != 0 and abs(math.frexp(c)[0]) == 0.5 and 2.0**-100 < abs(c) < 2.0**100:
        return simplify_node(const(1 / c, n.type.dtype) * x)
    return None


def double_negative(n: Node) -> Node | None:
    """-(-x) = x."""
    return n.args[0].args[0] if n.args[0].op.name == "neg" else None


def power(n: Node) -> Node | None:
    """Integer powers are multiplications, and those of 1/2 square roots; x**0 is 1 even for NaN.

    Rounding is that of the multiplications: a few ulps rather than one. (-0)**0.5 is -0, and (-inf)**0.5 is NaN. Other
    half-integer powers stay what they are until they have been differentiated: see `roots_of_powers`.
    """
    x, y = n.args
    if not is_const(y) or x.type != n.type:
        return None
    size = abs(float(y.value))
    whole, half = divmod(size, 1.0)
    if half not in (0.0, 0.5) or whole > LARGEST_POWER or (half and whole and y.value > 0):
        return None
    if not size:
        return shaped(const(1.0, n.type.dtype), n)
    if not half:
        result = repeated(x, int(whole))
    else:
        result = apply("pow", x, const(size, n.type.dtype)) if whole else apply("sqrt", x)
    return result if y.value > 0 else 1.0 / result


def roots_of_powers(roots: Sequence[Node]) -> list[Node]:
    """Half-integer powers as products with a square root: after differentiation, which they would make 0*infinity."""
    return rebuild(roots, half_power)


def half_power(n: Node) -> Node:
    """x**1.5 = x*sqrt(x), and so on."""
    if n.op.name != "pow" or not is_const(n.args[1]) or n.args[0].type != n.type:
        return map_body(n, roots_of_powers)
    whole, half = divmod(float(n.args[1].value), 1.0)
    if half != 0.5 or not 1 <= whole <= LARGEST_POWER:
        return n
    return repeated(n.args[0], int(whole)) * apply("sqrt", n.args[0])


def repeated(x: Node, count: int) -> Node:
    """x**count by repeated squaring, from 1 on."""
    result, square = None, x
    while True:
        if count & 1:
            result = square if result is None else result * square
        count >>= 1
        if not count:
            return result or square
        square = square * square


def shaped(x: Node, like: Node) -> Node:
    """x, repeated to the shape of the node that it replaces."""
    return x if x.type.shape == like.type.shape else broadcast_to(x, like.type.shape)


def unrepeated(n: Node) -> Node:
    """What a node repeats; the node itself if it repeats nothing."""
    return n.args[0] if is_broadcast(n) else n


def decided(n: Node) -> Node | None:
    """A selection by a constant, or between equals."""
    c, a, b = unrepeated(n.args[0]), *n.args[1:]
    if is_const(c):
        chosen = a if c.value else b
        fits = chosen.type.shape in ((), n.type.shape) and chosen.type.dtype == n.type.dtype
        return shaped(chosen, n) if fits else None
    return a if a is b and a.type == n.type else None


def swapped(n: Node) -> Node | None:
    """where(not c, a, b) = where(c, b, a)."""
    c, a, b = n.args
    return select(c.args[0], b, a) if c.op.name == "not" and not is_const(b, 0.0) else None


def chosen_twice(n: Node) -> Node | None:
    """where(c, where(c, a, b), d) = where(c, a, d), and the same of the other side."""
    c, a, b = n.args
    x = a.args[1] if is_select(a) and a.args[0] is c and a.params == n.params else a
    y = b.args[2] if is_select(b) and b.args[0] is c and b.params == n.params else b
    if x is a and y is b:
        return None
    found = apply("select", c, x, y, params=n.params)
    return found if found.type == n.type else None


def compared_with_zero(n: Node) -> Node | None:
    """-x == 0 where x == 0; a number by a length is never 0."""
    for x, zero in (n.args, n.args[::-1]):
        if is_const(zero, 0.0) and is_neg(x):
            return apply(n.op.name, x.args[0], zero)
        if is_const(zero, 0.0) and is_div(x) and x.args[1].op.by_shape and is_const(x.args[0], 1.0):
            return const(n.op.name == "ne", "bool")
        if is_const(zero, 0.0) and is_broadcast(x):
            found = simplify_node(apply(n.op.name, x.args[0], zero))
            return shaped(found, n) if is_const(found) else None
    return None


def double_not(n: Node) -> Node | None:
    """not not c = c."""
    return n.args[0].args[0] if n.args[0].op.name == "not" else None


def flat_logic(n: Node) -> Node | None:
    """and, or: nested ones are joined, duplicates and neutral constants dropped, a deciding constant decides."""
    neutral = n.op.name == "and"
    parts: list[Node] = []
    for a in n.args:
        parts += a.args if a.op.name == n.op.name and len(a.args) <= FEW_TERMS else (a,)
    if any(is_const(a) and a.value is not neutral for a in parts):
        return const(not neutral, "bool") if not n.type.shape else None
    kept = list(dict.fromkeys(a for a in parts if unrepeated(a) is not const(neutral, "bool")))
    if len(kept) == 1 and kept[0].type == n.type:
        return kept[0]
    new = apply(n.op.name, *kept) if len(kept) > 1 and kept != list(n.args) else n
    return new if new is not n and new.type == n.type else None


def entry_of_assembled(n: Node) -> Node | None:
    """An entry of an array that was put together is what was put there, if nothing else overlaps it."""
    a, index = n.args[0], n.params[0]
    if not is_assemble(a):
        return None
    found = [v for v, place in zip(a.args, a.params[1], strict=True) if overlap(place, index)]
    return found[0] if len(found) == 1 and index in a.params[1] and found[0].type == n.type else None


def part_of_outer(n: Node) -> Node | None:
    """A part of an outer product is that of parts: what is not picked is not computed, nor differentiated."""
    product = n.args[0]
    if not is_dot(product) or not set(product.params[0] + product.params[1]) <= set(product.params[2]):
        return None
    index = dict(zip(product.params[2], n.params[0], strict=True))
    left = [tuple(label for label in labels if not is_place(index[label])) for labels in product.params]
    if len(left[2]) == len(n.params[0]):
        return None
    args = [
        a if all(index[k] is None for k in labels) else apply("item", a, params=(tuple(index[k] for k in labels),))
        for a, labels in zip(product.args, product.params, strict=False)
    ]
    return apply("dot", *args, params=tuple(left)) if left[2] else apply("mul", *args)


def is_place(k: Dim | Span | None) -> bool:
    """Whether this part of an index is one place, so that its axis goes."""
    return k is not None and not isinstance(k, Span)


def whole_vector(n: Node) -> Node | None:
    """A vector that is put together from all entries of another, in their order, is that."""
    first = n.args[0]
    if not is_item(first) or first.type.shape or first.args[0].type.shape != (len(n.args),):
        return None
    source = first.args[0]
    in_order = all(is_item(a) and a.args[0] is source and a.params[0] == (k,) for k, a in enumerate(n.args))
    return source if in_order and source.type == n.type else None


def overlap(place: Index, index: Index) -> bool:
    """Whether two places may have an entry in common."""
    return not any(map(are_apart, place, index))


def are_apart(p: Dim | Span | None, k: Dim | Span | None) -> bool:
    """Whether two places or spans of an axis are known to have nothing in common."""
    ends = [s.bounds if isinstance(s, Span) else (s, s) if isinstance(s, int) else None for s in (p, k)]
    if ends[0] is None or ends[1] is None:
        return isinstance(p, Span) and isinstance(k, Span) and (is_before(p, k) or is_before(k, p))
    return ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0]


def is_before(p: Span, k: Span) -> bool:
    """Whether a span of neighbours ends before another one begins, whatever the named dimensions are."""
    gap = dim_sum(k.start, dim_product(-1, dim_sum(p.start, p.count)))
    return p.step == k.step == 1 and all(c >= 0 for _, c in parsed(gap))


def reshaped_again(n: Node) -> Node | None:
    """A reshape of a reshape is one, and to its own shape none."""
    x = n.args[0]
    while is_reshape(x):
        x = x.args[0]
    if x.type == n.type:
        return x
    return apply("reshape", x, params=n.params) if x is not n.args[0] else None


def same_dtype(n: Node) -> Node | None:
    """A cast to its own dtype."""
    return n.args[0] if n.args[0].type == n.type else None


def simple_body(n: Node) -> Node | None:
    """A loop around simple formulas."""
    new = map_body(n, simplify)
    return None if new is n else new


def same_shape(n: Node) -> Node | None:
    """A broadcast to its own shape, with the axes in their places."""
    moved = len(n.params) > 1 and n.params[1] != tuple(range(len(n.type.shape)))
    return n.args[0] if n.args[0].type == n.type and not moved else None


def implied(n: Node) -> Node | None:
    """A broadcast inside an elementwise op that has its shape anyway."""
    args = [a.args[0] if a.op.is_view and is_broadcast(a) and is_const(a.args[0]) else a for a in n.args]
    if args == list(n.args):
        return None
    lighter = apply(n.op.name, *args, params=n.params)
    return lighter if lighter.type == n.type else None


def spread_constants(n: Node) -> Node | None:
    """An elementwise op of repeated numbers is the repeated number that it gives."""
    numbers = [unrepeated(a) for a in n.args]
    if any(not a.op.is_const for a in numbers):
        return None
    number = simplify_node(apply(n.op.name, *numbers, params=n.params))
    return shaped(number, n) if is_const(number) else None


def sum_of_numbers(n: Node) -> Node | None:
    """A whole number added up is that number times how often, as both are exact."""
    x, (axes,) = n.args[0], n.params
    if not is_broadcast(x) or not x.args[0].op.is_const or len(axes) != len(x.type.shape):
        return None
    value = float(x.args[0].value)
    if value == 0.0 or not value.is_integer() or not x.type.dtype.startswith("float"):
        return None
    result = x.args[0]
    for k in axes:
        result = simplify_node(result * length_along(x, k))
    return result


GENERAL: tuple[Rule, ...] = (fold,)  # of every op
SPECIAL: dict[str, tuple[Rule, ...]] = {
    "add": (assembled, spread_constants, implied, one_term, negative_last, doubled),
    "mul": (spread_constants, implied, square_of_abs, unit_factor, signs_out, reciprocal_factor, constants_together),
    "div": (spread_constants, implied, unit_divisor, signs_out),
    "neg": (spread_constants, double_negative),
    "pow": (power,),
    "select": (decided, swapped, chosen_twice),
    "eq": (compared_with_zero,),
    "ne": (compared_with_zero,),
    "not": (double_not,),
    "and": (flat_logic,),
    "or": (flat_logic,),
    "item": (entry_of_assembled, part_of_outer),
    "pack": (whole_vector,),
    "broadcast": (same_shape,),
    "reshape": (reshaped_again,),
    "cast": (same_dtype,),
    "scan": (simple_body,),
    "sum": (sum_of_numbers,),
}
OF_ARRAYS = (assembled, spread_constants, implied)  # they have nothing to say of scalars
RULES = {name: GENERAL + rules for name, rules in SPECIAL.items()}
SCALAR_RULES = {name: tuple(r for r in rules if r not in OF_ARRAYS) for name, rules in RULES.items()}


def share_reciprocals(roots: Sequence[Node]) -> list[Node]:
    """x/d, y/d, ... become x*r, y*r with r = 1/d, and so does x/d in a loop that d stands outside of.

    The one rule that may round differently, by an ulp, and that gives an infinity or NaN where 1/d overflows, for |d|
    below 2**-1024 (2**-128 in single precision). Divisors that are numbers or sizes are left, so are lone quotients.
    """
    order = topological(roots)
    quotients: dict[Node, list[Node]] = {}
    for n in order:
        if n.op.name == "div" and not (is_const(n.args[1]) or n.args[1].op.by_shape):
            quotients.setdefault(n.args[1], []).append(n)
    shared = {n for d, found in quotients.items() for n in found if len(found) > 1 or n.type.shape != d.type.shape}
    new: dict[Node, Node] = {}  # what has changed
    loops = any(is_scan(n) for n in order)
    for n in order if shared or loops else ():
        result = with_new(n, new)
        if loops:
            result = map_body(result, share_reciprocals)
        if n in shared and not is_const(n.args[0], 1.0):
            x, d = result.args
            result = x * (const(1.0, n.type.dtype) / d)
        if result is not n:
            new[n] = result
    return [new.get(r, r) for r in roots]


def balance(roots: Sequence[Node]) -> list[Node]:
    """Sums of more than eight terms as trees of sums of at most eight, so that the error grows with log n."""
    return rebuild(roots, balance_node)


def balance_node(n: Node) -> Node:
    """One sum as a tree."""
    if n.op.name != "add" or len(n.args) <= FEW_TERMS:
        return map_body(n, balance)
    terms = list(n.args)
    while len(terms) > 1:
        groups = [terms[k : k + FEW_TERMS] for k in range(0, len(terms), FEW_TERMS)]
        terms = [add(*g) for g in groups]
    return terms[0]
