"""Nodes as conventional mathematics, of bounded length: for comments, messages and tables."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from gradcompile.ir import Node, is_const, topological
from gradcompile.ops.gather import Affine
from gradcompile.ops.shape import Span
from gradcompile.types import Dim, dim_product, dim_sum

# Binding strength, weakest first.
WHERE, OR, AND, COMPARE, SUM, NEGATIVE, PRODUCT, SIGN, POWER, ATOM = range(10)
BINARY = {"mul": ("*", PRODUCT), "div": ("/", PRODUCT), "lt": (" < ", COMPARE), "le": (" <= ", COMPARE),
          "eq": (" == ", COMPARE), "ne": (" != ", COMPARE), "and": (" and ", AND), "or": (" or ", OR)}  # fmt: skip
ELLIPSIS = "..."
TRIES = 6  # arguments that are left out of a long text, the longest first

Text = tuple[str, int]


def formulas(roots: Sequence[Node], names: Mapping[Node, str], limit: int = 60) -> dict[Node, str]:
    """The text of every node below the roots, each at most `limit` characters; what does not fit is an ellipsis.

    Linear in the graph: every text is bounded, and every node is written a few times.

    >>> from gradcompile.ir import apply, leaf
    >>> a, x = leaf("a"), leaf("x")
    >>> e = apply("add", apply("mul", a, apply("exp", apply("neg", x))), apply("neg", a))
    >>> formulas([e], {a: "a", x: "x"})[e]
    'a*exp(-x) - a'
    """
    full: dict[Node, Text] = {}
    brief: dict[Node, Text] = {}  # what stands in a longer text that would not fit with the full one
    for n in topological(roots):
        if n in names:
            full[n] = brief[n] = names[n], ATOM
            continue
        full[n] = fitted(n, (full, brief), limit)
        brief[n] = full[n] if len(full[n][0]) <= 2 * limit // 5 else fitted(n, (brief,), 2 * limit // 5)
    return {n: text for n, (text, _) in full.items()}


def fitted(n: Node, choices: Sequence[Mapping[Node, Text]], limit: int) -> Text:
    """One operation from the first of these texts of its arguments that keep it within the limit, else shortened."""
    for texts in choices:
        text = written(n, texts)
        if len(text[0]) <= limit:
            return text
    return shortened(n, choices[-1], limit)


def shortened(n: Node, texts: Mapping[Node, Text], limit: int) -> Text:
    """One operation with its longest arguments left out, a sum also without its last terms."""
    near = [*n.args, *(b for a in n.args[:2] for b in a.args[:2])]  # as deep as `written` looks
    brief = {a: texts[a] for a in near}
    for a in sorted(brief, key=lambda a: -len(texts[a][0]))[:TRIES]:
        brief[a] = ELLIPSIS, ATOM
        short = written(n, brief)
        if len(short[0]) <= limit:
            return short
    if n.op.name == "add":
        begun = [sum_text([brief[a] for a in n.args[:k]]) for k in range(2, min(len(n.args), limit))]
        fitting = [text for text in begun if len(text) + len(ELLIPSIS) + 3 <= limit]
        return (f"{fitting[-1]} + {ELLIPSIS}", SUM) if fitting else (ELLIPSIS, ATOM)
    return ELLIPSIS, ATOM


def written(n: Node, texts: Mapping[Node, Text]) -> Text:
    """One operation, from the texts of its arguments."""
    name, args = n.op.name, [texts[a] for a in n.args]
    if name == "const":
        return number_text(n.value)
    if name == "leaf":
        return str(n.params[0]), ATOM
    if name == "add":
        return sum_text(args), SUM
    if name == "neg":
        return "-" + wrap(args[0], POWER if args[0][0].startswith("-") else PRODUCT), NEGATIVE
    if name == "mul" and n.args[0] is n.args[1]:
        return f"{wrap(args[0], ATOM)}**2", POWER
    if name == "pow":
        return f"{wrap(args[0], ATOM)}**{wrap(args[1], ATOM)}", POWER
    if name == "mul" and n.args[1].op.name == "div" and is_const(n.args[1].args[0], 1.0):
        return f"{wrap(args[0], PRODUCT)}/{wrap(texts[n.args[1].args[1]], SIGN)}", PRODUCT
    if is_mean(n):
        return f"mean({texts[n.args[0].args[0]][0]})", ATOM
    if name in BINARY:
        symbol, level = BINARY[name]
        tight = level + (name in ("div", "lt", "le", "eq", "ne"))
        return symbol.join(wrap(a, level if k == 0 else tight) for k, a in enumerate(args)), level
    if name in ("broadcast", "stop_gradient", "reshape", "cast"):
        return args[0]
    if name == "select":
        return f"where({', '.join(a[0] for a in args)})", ATOM
    if name == "item":
        return f"{wrap(args[0], ATOM)}[{', '.join(map(place_text, n.params[0]))}]", ATOM
    if name == "dot":
        return dot_text(n, args)
    if name == "transpose" and n.params[0] == (1, 0):
        return f"{wrap(args[0], ATOM)}.T", ATOM
    if name == "size":
        return "n", ATOM
    if name in GATHERED:
        return GATHERED[name](n, texts), ATOM
    orders = [str(p) for p in n.params if isinstance(p, int)]
    return f"{name.replace('_1', '')}({', '.join([*orders, *(a[0] for a in args)])})", ATOM


def place_text(k: Dim | Span | None) -> str:
    """A place, or a span of places, as an index writes it.

    >>> place_text(Span(1, "n-1")), place_text(Span(5, 3, -2))
    ('1:n', '5:-1:-2')
    """
    if not isinstance(k, Span):
        return ":" if k is None else str(k)
    if k.step == -1 and k.start == dim_sum(k.count, -1):
        return "::-1"
    stop = dim_sum(k.start, dim_product(k.count, k.step))
    return f"{k.start or ''}:{stop}" + (f":{k.step}" if k.step != 1 else "")


def dot_text(n: Node, args: Sequence[Text]) -> Text:
    """A contraction as a product of matrices if it is one, else as einsum.

    >>> from gradcompile.ir import apply, leaf
    >>> from gradcompile.types import ArrayType
    >>> a, b = leaf("A", ArrayType((2, 3))), leaf("B", ArrayType((4, 3)))
    >>> dot_text(apply("dot", a, b, params=((0, 1), (2, 1), (0, 2))), [("A", ATOM), ("B", ATOM)])
    ('A @ B.T', 6)
    """
    la, lb, result = n.params
    summed = [k for k in la if k in lb and k not in result]
    rest = tuple(k for k in (*la, *lb) if k not in summed)
    if len(summed) == 1 and max(len(la), len(lb)) <= 2 and rest in (result, result[::-1]):
        sides = [(args[0], la), (args[1], lb)][:: 1 if rest == result else -1]
        turned = [len(labels) == 2 and labels[k] != summed[0] for (_, labels), k in zip(sides, (-1, 0), strict=True)]
        levels = [ATOM if t else level for t, level in zip(turned, (PRODUCT, SIGN), strict=True)]
        left, right = (wrap(s[0], v) + ".T" * t for s, v, t in zip(sides, levels, turned, strict=True))
        return f"{left} @ {right}", PRODUCT
    letters = ["".join(chr(ord("a") + k % 26) for k in labels) for labels in n.params]
    return f"einsum('{letters[0]},{letters[1]}->{letters[2]}', {args[0][0]}, {args[1][0]})", ATOM


def pack_text(n: Node, texts: Mapping[Node, Text]) -> str:
    """The first values of a vector."""
    return f"pack({', '.join([*(texts[a][0] for a in n.args[:2]), *([ELLIPSIS] if len(n.args) > 2 else [])])})"


def take_text(n: Node, texts: Mapping[Node, Text]) -> str:
    """Entries of a vector by their index: x[i + 1], x[i, j], and x[k_i] where they follow no rule.

    >>> from gradcompile.ir import apply, leaf
    >>> from gradcompile.types import ArrayType
    >>> u = apply("pack", leaf("U", ArrayType((40, 40))))
    >>> take_text(apply("take", u, params=(Affine(1, ((38, 40), (39, 1))),)), {})
    'U[i, j + 1]'
    """
    vector, spec = n.args[0], n.params[0]
    whole = texts.get(vector, (ELLIPSIS, ATOM))[0]
    if not isinstance(spec, Affine):
        (name, index), (other, _) = (entry(vector, place, texts) for place in spec.bounds)
        return f"{name if name == other and len(index) == 1 else whole}[k_i]"
    name, start = entry(vector, spec.start, texts)
    steps = []
    for count, stride in spec.axes:
        near, far = (entry(vector, spec.start + k * stride, texts) for k in (min(1, count - 1), count - 1))
        steps.append([b - a for a, b in zip(start, near[1], strict=False)])
        if not start or far != (name, tuple(a + (count - 1) * d for a, d in zip(start, steps[-1], strict=True))):
            return f"{whole}[{index_text(spec.start, [stride for _, stride in spec.axes])}]"
    return f"{name}[{', '.join(index_text(a, [s[k] for s in steps]) for k, a in enumerate(start))}]"


def table_text(n: Node) -> str:
    """The first numbers of a table.

    >>> from gradcompile.ops.gather import table
    >>> table_text(table([[0.5, 2.0], [1.0, 0.25]]))
    '[0.5, 2, ...][i, j]'
    """
    first = [f"{v:.4g}" for v in n.params[0].array().ravel()[:2]]
    return f"[{', '.join([*first, ELLIPSIS])}][{', '.join('ijkl'[: len(n.type.shape)])}]"


def entry(vector: Node, place: int, texts: Mapping[Node, Text]) -> tuple[str, tuple[int, ...]]:
    """An entry of a vector as a name and an index; x3 is x at 3.

    >>> from gradcompile.ir import apply, leaf
    >>> entry(apply("pack", leaf("a"), leaf("x3")), 1, {})
    ('x', (3,))
    """
    for a in vector.args if vector.op.name == "pack" else (vector,):
        size = prod(int(d) for d in a.type.shape)
        if place < size:
            break
        place -= size
    name = texts[a][0] if a in texts else str(a.params[0]) if a.op.name == "leaf" else ELLIPSIS
    if a.type.shape:
        return name, tuple(int(k) for k in np.unravel_index(place, tuple(int(d) for d in a.type.shape)))
    stem = name.rstrip("0123456789")
    return (stem, (int(name[len(stem) :]),)) if stem.isidentifier() and stem != name else (name, ())


def index_text(start: int, strides: Sequence[int]) -> str:
    """start + stride*i + stride*j as an index writes it.

    >>> index_text(1, [1]), index_text(9, [-1]), index_text(0, [40, 2])
    ('i + 1', '9 - i', '40*i + 2*j')
    """
    letters = [(letter, s) for letter, s in zip("ijkl", strides, strict=False) if s]
    terms = [
        (f"{'-' * (s < 0)}{'' if abs(s) == 1 else f'{abs(s)}*'}{x}", NEGATIVE if s < 0 else ATOM) for x, s in letters
    ]
    terms += [number_text(float(start))] if start or not terms else []
    return sum_text(sorted(terms, key=lambda t: t[0].startswith("-")))


GATHERED: dict[str, Callable[[Node, Mapping[Node, Text]], str]] = {
    "pack": pack_text,
    "take": take_text,
    "scatter": lambda n, texts: f"scatter({texts[n.args[0]][0]})",
    "table": lambda n, texts: table_text(n),
    "amax": lambda n, texts: f"max({texts[n.args[0]][0]})",
}


def is_mean(n: Node) -> bool:
    """Whether the node is sum(x)/n."""
    return n.op.name == "div" and n.args[0].op.name == "sum" and n.args[1].op.name == "size"


def number_text(value: float) -> Text:
    """A number, without a decimal point if it is whole."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15 and repr(value) != "-0.0"
    text = repr(int(value)) if whole else repr(value)
    return text, SIGN if text.startswith("-") else ATOM


def sum_text(args: Sequence[Text]) -> str:
    """Terms with their signs."""
    result = wrap(args[0], SUM)
    for text, level in args[1:]:
        negative = text.startswith("-") and level >= NEGATIVE
        result += f" - {text[1:]}" if negative else f" + {wrap((text, level), PRODUCT)}"
    return result


def wrap(text: Text, level: int) -> str:
    """The text, in parentheses if it binds weaker than the level."""
    return text[0] if text[1] >= level else f"({text[0]})"
