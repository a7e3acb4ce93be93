"""Nodes as conventional mathematics, arrays in NumPy's notation, of bounded length: for comments, messages, tables."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

import numpy as np

from gradcompile.errors import printable
from gradcompile.ir.algebra import is_add, is_div, is_mul, is_neg, is_select
from gradcompile.ir.core import Node, is_const, is_leaf
from gradcompile.ir.graph import topological
from gradcompile.ir.types import Dim, dim_product, dim_sum
from gradcompile.ops.constant_index import Affine, is_pack
from gradcompile.ops.gather import is_gather
from gradcompile.ops.reduction import is_sum
from gradcompile.ops.scan import is_scan, is_scanned, result_places
from gradcompile.ops.shape import Span, is_broadcast, is_iota, is_item, is_reshape, places
from gradcompile.ops.sparse import is_sparse_dot

# Binding strength, weakest first.
WHERE, OR, AND, COMPARE, SUM, NEGATIVE, PRODUCT, SIGN, POWER, ATOM = range(10)
BINARY = {"mul": ("*", PRODUCT), "div": ("/", PRODUCT), "lt": (" < ", COMPARE), "le": (" <= ", COMPARE),
          "eq": (" == ", COMPARE), "ne": (" != ", COMPARE), "and": (" and ", AND), "or": (" or ", OR)}  # fmt: skip
ELLIPSIS = "..."
TRIES = 6  # arguments that are left out of a long text, the longest first

FEW = 6  # numbers of a table that are all written
OPERAND = re.compile(r"[^\W\d]\w*(?![\w(])")  # in a formula
MOST = 1000  # the exponent up to which products are read as a power

Text = tuple[str, int]
Texts = Mapping[Node, Text]
Labels = tuple[int, ...]


def formulas(roots: Sequence[Node], names: Mapping[Node, str], limit: int = 60) -> dict[Node, str]:
    """The text of every node below the roots, each at most `limit` characters; what does not fit is an ellipsis.

    Linear in the graph: every text is bounded, and every node is written a few times.

    >>> from gradcompile.ir.core import apply, leaf
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


def fitted(n: Node, choices: Sequence[Texts], limit: int) -> Text:
    """One operation from the first of these texts of its arguments that keep it within the limit, else shortened."""
    for texts in choices:
        text = written(n, texts)
        if len(text[0]) <= limit:
            return text
    return shortened(n, choices[-1], limit)


def shortened(n: Node, texts: Texts, limit: int) -> Text:
    """One operation with its longest arguments left out, a sum also without its last terms."""
    read = Reader(texts)
    written(n, read)
    brief = dict(read.found)
    for a in sorted(brief, key=lambda a: -len(texts[a][0]))[:TRIES]:
        brief[a] = ELLIPSIS, ATOM
        short = written(n, brief)
        if len(short[0]) <= limit:
            return short
    if is_add(n):
        brief |= {a: texts[a] for a in n.args}
        begun = [sum_text([brief[a] for a in n.args[:k]]) for k in range(2, min(len(n.args), limit))]
        fitting = [text for text in begun if len(text) + len(ELLIPSIS) + 3 <= limit]
        return (f"{fitting[-1]} + {ELLIPSIS}", SUM) if fitting else (ELLIPSIS, ATOM)
    return ELLIPSIS, ATOM


class Reader(Mapping[Node, Text]):
    """Texts that remember which of them were read."""

    def __init__(self, texts: Texts) -> None:
        self.texts, self.found = texts, dict[Node, Text]()

    def __getitem__(self, n: Node) -> Text:
        self.found[n] = text = self.texts[n]
        return text

    def __iter__(self) -> Iterator[Node]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)


class Whole(Reader):
    """Texts for functions that look at shapes: repetitions, which between entries NumPy makes itself, are written."""

    def __getitem__(self, n: Node) -> Text:
        if not is_broadcast(n) or not n.type.shape:
            return self.texts[n]
        return repeated_text(n, self.texts), ATOM


def written(n: Node, texts: Texts) -> Text:
    """One operation, from the texts of its arguments."""
    if n.op.takes_arrays or n.type.shape:
        scan = scan_text(n)
        text = (scan, ATOM) if scan else of_array(n, texts)
        if text is not None:
            return text
    name, args = n.op.name, [texts[a] for a in n.args]
    if name == "const":
        return number_text(n.value)
    if name == "leaf":
        return printable(str(n.params[0]).partition(".")[0] or str(n.params[0])), ATOM
    if name == "add":
        return sum_text(args), SUM
    if name == "neg":
        return "-" + wrap(args[0], POWER if args[0][0].startswith("-") else PRODUCT), NEGATIVE
    base, exponent = power(n)
    if exponent > 1:
        return f"{wrap(texts[base], ATOM)}**{exponent}", POWER
    if name == "pow":
        return f"{wrap(args[0], ATOM)}**{wrap(args[1], ATOM)}", POWER
    if name == "mul" and is_div(n.args[1]) and is_const(n.args[1].args[0], 1.0):
        return f"{wrap(args[0], PRODUCT)}/{wrap(texts[n.args[1].args[1]], SIGN)}", PRODUCT
    if (mean := mean_text(n, texts)) is not None:
        return mean, ATOM
    if name in BINARY:
        symbol, level = BINARY[name]
        tight = level + (name in ("div", "lt", "le", "eq", "ne"))
        first = min(level, NEGATIVE) if args[0][1] == NEGATIVE else level  # -x*y is (-x)*y
        return symbol.join(wrap(a, tight if k else first) for k, a in enumerate(args)), first
    if name == "stop_gradient":
        return args[0]
    if name == "ruled":
        return f"{n.params[0].name}({', '.join(a[0] for a in args[1:])})", ATOM
    if name == "select":
        return f"where({', '.join(a[0] for a in args)})", ATOM
    orders = [str(p) for p in n.params if isinstance(p, int)]
    return f"{name.replace('_1', '')}({', '.join([*orders, *(a[0] for a in args)])})", ATOM


def of_array(n: Node, texts: Texts) -> Text | None:
    """What only arrays have; None for what is written as for numbers."""
    name = n.op.name
    if name == "broadcast":
        return broadcast_text(n, texts)
    if name == "cast":
        x = texts[n.args[0]]
        return (f"int64({x[0]})", ATOM) if is_cut(n) else x
    if name == "dot":
        return dot_text(n, Whole(texts))
    if is_sparse_dot(n):
        matrix = texts[n.args[1]][0].removesuffix("_columns") + ".T" * len(n.params)
        return f"{matrix} @ {wrap(texts[n.args[0]], SIGN)}", PRODUCT
    if name in ARRAYS:
        return ARRAYS[name](n, Whole(texts)), ATOM
    if name in ("max", "min") and n.type.shape:
        return f"{name}imum({', '.join(texts[a][0] for a in n.args)})", ATOM
    if name == "select" and is_guard(n):
        return texts[n.args[1]]
    called = call_text(n, texts)
    return None if called is None else (called, ATOM)


def call_text(n: Node, texts: Texts) -> str | None:
    """A function of networks, recognised by what it is made of; None for anything else."""
    name = n.op.name
    if name == "select" and is_relu(n):
        return f"relu({texts[n.args[2]][0]})"
    found = softmax_of(n) if name in ("add", "div", "mul") and len(n.args) == 2 else None
    if found is not None:
        return f"{'log_' * (name == 'add')}softmax({texts[found[0]][0]}{last_axis_text(*found)})"
    gathered = n.args[0] if name == "neg" and is_gather(n.args[0]) else None
    if gathered is None or not is_add(gathered.args[0]) or (found := softmax_of(gathered.args[0])) is None:
        return None
    labels = [i for i in gathered.args[1:] if all(not is_iota(a) for a in (i, *i.args))]
    return f"cross_entropy({texts[found[0]][0]}, {texts[labels[0]][0]}{last_axis_text(*found)})" if labels else None


def softmax_of(n: Node) -> tuple[Node, int] | None:
    """x and the axis, if the node is the softmax of x (a quotient) or its logarithm (a sum); None for anything else."""
    below, total = n.args
    if is_mul(n):  # by a reciprocal
        if not is_div(total) or not is_const(total.args[0], 1.0):
            return None
        total = total.args[1]
    if is_add(n):
        total = total.args[0] if is_neg(total) else total
        below, total = (below, total.args[0]) if total.op.name == "log" else (below, below)
    else:
        below = below.args[0] if below.op.name == "exp" else below
    if not is_broadcast(total) or not is_sum(total.args[0]):
        return None
    raised, (axis, *more) = total.args[0].args[0], total.args[0].params[0]
    if more or raised.op.name != "exp" or raised.args[0] is not below or not is_add(below) or len(below.args) > 2:
        return None
    x, shift = below.args
    is_shifted = is_neg(shift) and is_select(shift.args[0]) and is_guard(shift.args[0])
    return (x, axis) if is_shifted else None


def last_axis_text(x: Node, axis: int) -> str:
    """An axis as an argument of functions that take the last unless told other."""
    return "" if axis == len(x.type.shape) - 1 else f", axis={axis}"


def is_relu(n: Node) -> bool:
    """Whether a choice is 0 where x <= 0, else x."""
    condition, zero, x = n.args
    return is_const(zero, 0.0) and condition.op.name == "le" and condition.args == (x, zero)


def is_guard(n: Node) -> bool:
    """Whether a choice is x but for infinities, which are 0."""
    condition, x, zero = n.args
    if not is_const(zero, 0.0) or condition.op.name != "lt" or not is_const(condition.args[1], float("inf")):
        return False
    return condition.args[0].op.name == "abs" and condition.args[0].args[0] is x


def mean_text(n: Node, texts: Texts) -> str | None:
    """sum(x)/n as a mean, if n counts what is summed; the sum may have been given its axes back."""
    if not is_div(n) or not n.args[0].args:
        return None
    kept = n.args[0] if is_broadcast(n.args[0]) else None
    total = n.args[0] if kept is None else kept.args[0]
    if not is_sum(total):
        return None
    x, axes = total.args[0], total.params[0]
    if counted(n.args[1]) != dim_product(*(x.type.shape[k] for k in axes)):
        return None
    text = f"mean({Whole(texts)[x][0]}{axes_text(axes, len(x.type.shape))})"
    return text if kept is None else broadcast_text(kept, {total: (text, ATOM)})[0]


def power(n: Node) -> tuple[Node, int]:
    """The base and the exponent of a whole power, as products of equal factors make it: x*x*x is x to the third.

    >>> from gradcompile.ir.core import leaf
    >>> x = leaf("x")
    >>> power(x * x * (x * x) * x)[1], power(x * leaf("y"))[1]
    (5, 1)
    """
    base, exponent, x = n, 0, n
    for _ in range(FEW):
        end, k = squared(x)
        if k > 1 or not is_mul(end):
            return (end, exponent + k) if end is base or x is n else (n, 1)
        last, k = squared(x.args[1])
        if exponent and last is not base:
            break
        base, exponent, x = last, exponent + k, x.args[0]
    return n, 1


def squared(x: Node) -> tuple[Node, int]:
    """What is multiplied by itself, again and again, and how often it is a factor then."""
    k = 1
    while is_mul(x) and x.args[0] is x.args[1] and k < MOST:
        x, k = x.args[0], 2 * k
    return x, k


def tells(formula: str) -> bool:
    """Whether a formula says more than its line: its operands are there, but for one of at least three.

    >>> tells("exp(...)/a + b*c"), tells("exp(...)/a"), tells("...")
    (True, False, False)
    """
    missing = formula.count("...")
    if not missing:
        return not formula.isidentifier()
    return missing == 1 and len(OPERAND.findall(formula)) > 1


def counted(n: Node) -> Dim | None:
    """The number of entries that a product of sizes and numbers stands for; None for anything else."""
    found: Dim = 1
    rest = [n]
    while rest and len(rest) < FEW:
        x = rest.pop()
        if is_mul(x):
            rest += x.args
        elif x.op.by_shape:
            found = dim_product(found, x.args[0].type.shape[x.params[0]])
        elif is_const(x) and float(x.value).is_integer():
            found = dim_product(found, int(x.value))
        else:
            return None
    return None if rest else found


def axes_text(axes: Sequence[int], count: int) -> str:
    """The axes as an argument; nothing if they are all there are.

    >>> axes_text((1,), 2), axes_text((0, 2), 3), axes_text((0,), 1)
    (', axis=1', ', axis=(0, 2)', '')
    """
    return "" if len(axes) == count else f", axis={axes[0] if len(axes) == 1 else tuple(axes)}"


def reduced_text(n: Node, texts: Texts) -> str:
    """A sum, or the largest entry, over axes."""
    x = n.args[0]
    return f"{n.op.name.removeprefix('a')}({texts[x][0]}{axes_text(n.params[0], len(x.type.shape))})"


def along_text(n: Node, texts: Texts) -> str:
    """A function along one axis: its name in NumPy's, and what else it takes."""
    name, (first, *rest) = n.op.name, n.params
    x = n.args[0]
    more = {"cumsum": ", reverse=True" if rest and rest[0] is True else "", "window": f", {rest[0] if rest else ''}"}
    return f"{name}({texts[x][0]}{more.get(name, '')}{axes_text((first,), len(x.type.shape))})"


def scan_text(n: Node) -> str:
    """What a result of a loop is called; empty for what is none."""
    if is_scanned(n):
        return str(n.params[0].result_name(n.params[1]))
    while is_reshape(n):
        n = n.args[0]
    if not is_item(n) or not is_scan(n.args[0]):
        return ""
    loop = n.args[0].params[0]
    return next((loop.result_name(k) for k, p in enumerate(result_places(loop)) if (p.span,) == n.params[0]), "")


def item_text(n: Node, texts: Texts) -> str:
    """Entries at places; whole axes at the end are left out, as NumPy lets one do."""
    index = [place_text(k, d) for k, d in zip(n.params[0], n.args[0].type.shape, strict=True)]
    return f"{wrap(texts[n.args[0]], ATOM)}[{index_of(index)}]"


def index_of(entries: Sequence[str]) -> str:
    """An index, without the whole axes at its end.

    >>> index_of(["0", ":"]), index_of([":", ":", "1"])
    ('0', ':, :, 1')
    """
    count = next((k for k in range(len(entries), 0, -1) if entries[k - 1] != ":"), 1)
    return ", ".join(entries[:count])


def place_text(k: Dim | Span | None, length: Dim | None = None) -> str:
    """A place, or a span of places, as an index writes it, of an axis of this length.

    >>> place_text(Span(1, "n-1")), place_text(Span(1, "n-1"), "n"), place_text(Span(5, 3, -2))
    ('1:n', '1:', '5:-1:-2')
    """
    if not isinstance(k, Span):
        return ":" if k is None else str(k)
    if k.step == -1 and k.start == dim_sum(k.count, -1):
        return "::-1"
    stop = dim_sum(k.start, dim_product(k.count, k.step))
    return f"{k.start or ''}:{'' if stop == length else stop}" + (f":{k.step}" if k.step != 1 else "")


def broadcast_text(n: Node, texts: Texts) -> Text:
    """The argument, with an index where axes were put in that NumPy would not add by itself.

    >>> from gradcompile.ir.core import apply, leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> x = leaf("x", ArrayType(("n",)))
    >>> broadcast_text(apply("broadcast", x, params=(("n", 3), (0,))), {x: ("x", ATOM)})
    ('x[:, None]', 9)
    """
    (x,), (shape, *_) = n.args, n.params
    at = places(n.params, len(x.type.shape))
    if not at or at == tuple(range(len(shape) - len(at), len(shape))):
        return texts[x]
    index = [":" if k in at else "None" for k in range(at[0], len(shape))]
    return f"{wrap(texts[x], ATOM)}[{', '.join(index)}]", ATOM


def repeated_text(n: Node, texts: Texts) -> str:
    """The argument with all axes of the result."""
    (x,), (shape, *_) = n.args, n.params
    at = places(n.params, len(x.type.shape))
    index = [":" if k in at else "None" for k in range(len(shape))]
    if all(d == 1 for k, d in enumerate(shape) if k not in at):
        return f"{wrap(texts[x], ATOM)}[{', '.join(index)}]" if at else f"full({tuple_text(shape)}, {texts[x][0]})"
    return f"broadcast_to({broadcast_text(n, texts)[0]}, {tuple_text(shape)})"


def transpose_text(n: Node, texts: Texts) -> str:
    """The axes in another order."""
    order, x = n.params[0], texts[n.args[0]]
    last = len(order) - 1
    if order == tuple(range(last, -1, -1)):
        return f"{wrap(x, ATOM)}.T"
    if order == (*range(last - 1), last, last - 1):
        return f"{wrap(x, ATOM)}.mT"
    return f"transpose({x[0]}, {tuple_text(order)})"


def tuple_text(dims: Sequence[Dim]) -> str:
    """Numbers and names as a tuple."""
    return f"({', '.join(map(str, dims))}{',' * (len(dims) == 1)})"


def gather_text(n: Node, texts: Texts) -> str:
    """Entries at integer arrays; scatter_add, the transpose, has these in brackets as well."""
    x, *indices = n.args
    index = ", ".join([*[":"] * n.params[0], *(texts[i][0] for i in indices)])
    return f"{wrap(texts[x], ATOM)}[{index}]" if is_gather(n) else f"scatter_add({texts[x][0]}, [{index}])"


def assemble_text(n: Node, texts: Texts) -> str:
    """Parts put together: side by side, one above the other, or in zeros."""
    shape, indices = n.params
    parts = ", ".join(texts[a][0] for a in n.args)
    placed = sorted({k for index in indices for k, i in enumerate(index) if i is not None})
    if len(placed) == 1 and len(indices) > 1:
        (k,) = placed
        axis = f", axis={k}" if k else ""
        along = [index[k] for index in indices]
        if along == list(range(len(along))):
            return f"stack([{parts}]{axis})"
        if adjoining([i for i in along if isinstance(i, Span)], shape[k]):
            return f"concatenate([{parts}]{axis})"
    if len(indices) > 1:
        return f"assemble({parts})"
    return f"pad({parts}, [{index_of([place_text(i, d) for i, d in zip(indices[0], shape, strict=True)])}])"


def adjoining(spans: Sequence[Span], dim: Dim) -> bool:
    """Whether each span begins where the one before ends, and together they are an axis."""
    ends = [0, *(dim_sum(s.start, s.count) for s in spans)]
    return [s.start for s in spans] == ends[:-1] and ends[-1] == dim and all(s.step == 1 for s in spans)


def dot_text(n: Node, texts: Texts) -> Text:
    """A contraction as a product of matrices if it is one, else as einsum.

    >>> from gradcompile.ir.core import apply, leaf
    >>> from gradcompile.ir.types import ArrayType
    >>> a, b = leaf("A", ArrayType((2, 3))), leaf("B", ArrayType((4, 3)))
    >>> dot_text(apply("dot", a, b, params=((0, 1), (2, 1), (0, 2))), {a: ("A", ATOM), b: ("B", ATOM)})
    ('A @ B.T', 6)
    """
    args = [texts[a] for a in n.args]
    product = matmul_text(args, *n.params)
    if product is not None:
        return product, PRODUCT
    la, lb, result = n.params
    if (len(la), len(lb)) == (1, 1) and result in (la + lb, lb + la):
        return f"outer({', '.join(a[0] for a in args[:: 1 if result == la + lb else -1])})", ATOM
    letters = ["".join(chr(ord("a") + k % 26) for k in labels) for labels in n.params]
    return f"einsum('{letters[0]},{letters[1]}->{letters[2]}', {args[0][0]}, {args[1][0]})", ATOM


def matmul_text(args: Sequence[Text], la: Labels, lb: Labels, result: Labels) -> str | None:
    """A contraction by its labels as a @ b, with transposes of the last two axes where needed; else None."""
    batch = 0
    while batch < min(len(la), len(lb), len(result)) and la[batch] == lb[batch] == result[batch]:
        batch += 1
    la, lb, result = la[batch:], lb[batch:], result[batch:]
    summed = [k for k in la if k in lb and k not in result]
    rest = tuple(k for k in (*la, *lb) if k not in summed)
    if len(summed) != 1 or rest not in (result, result[::-1]) or (batch and min(len(la), len(lb)) < 2):
        return None
    sides = [(args[0], la), (args[1], lb)][:: 1 if rest == result else -1]
    if len(sides[1][1]) > 2 or (len(sides[0][1]) > 2 and (batch or sides[0][1][-1] != summed[0])):
        return None
    turned = [len(labels) == 2 and labels[k] != summed[0] for (_, labels), k in zip(sides, (-1, 0), strict=True)]
    levels = [ATOM if t else level for t, level in zip(turned, (PRODUCT, SIGN), strict=True)]
    letter = ".mT" if batch else ".T"
    left, right = (wrap(s[0], v) + letter * t for s, v, t in zip(sides, levels, turned, strict=True))
    return f"{left} @ {right}"


def pack_text(n: Node, texts: Texts) -> str:
    """The first values of a vector."""
    return f"pack({', '.join([*(texts[a][0] for a in n.args[:2]), *([ELLIPSIS] if len(n.args) > 2 else [])])})"


def take_text(n: Node, texts: Texts) -> str:
    """Entries of a vector by their index: x[i + 1], x[i, j], and x[k_i] where they follow no rule.

    >>> from gradcompile.ir.core import apply, leaf
    >>> from gradcompile.ir.types import ArrayType
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


def table_text(n: Node, texts: Texts) -> str:
    """The numbers of a table that has few of them, else the first.

    >>> from gradcompile.ops.constant_index import table
    >>> table_text(table([0.5, 2.0, 1.0]), {}), table_text(table([[0.5, 2.0]] * 20), {})
    ('[0.5, 2, 1]', '[0.5, 2, ...][i, j]')
    """
    numbers = n.params[0].array()
    first = [f"{v:.4g}" for v in numbers.ravel()[:FEW]]
    if numbers.ndim == 1 and numbers.size <= FEW:
        return f"[{', '.join(first)}]"
    return f"[{', '.join([*first[:2], ELLIPSIS])}][{', '.join('ijkl'[: numbers.ndim])}]"


def entry(vector: Node, place: int, texts: Texts) -> tuple[str, tuple[int, ...]]:
    """An entry of a vector as a name and an index; x3 is x at 3.

    >>> from gradcompile.ir.core import apply, leaf
    >>> entry(apply("pack", leaf("a"), leaf("x3")), 1, {})
    ('x', (3,))
    """
    for a in vector.args if is_pack(vector) else (vector,):
        size = prod(int(d) for d in a.type.shape)
        if place < size:
            break
        place -= size
    name = texts[a][0] if a in texts else printable(str(a.params[0])) if is_leaf(a) else ELLIPSIS
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


ARRAYS: dict[str, Callable[[Node, Texts], str]] = {  # of these the texts are atoms
    "pack": pack_text,
    "take": take_text,
    "scatter": lambda n, texts: f"scatter({texts[n.args[0]][0]})",
    "table": table_text,
    "amax": reduced_text,
    "sum": reduced_text,
    "size": lambda n, texts: str(n.args[0].type.shape[n.params[0]]),
    "item": item_text,
    "transpose": transpose_text,
    "reshape": lambda n, texts: f"reshape({texts[n.args[0]][0]}, {tuple_text(n.params[0])})",
    "iota": lambda n, texts: f"arange({n.params[0]})",
    "gather": gather_text,
    "scatter_add": gather_text,
    "assemble": assemble_text,
    **dict.fromkeys(("argsort", "argmax", "cumsum", "window", "overlap"), along_text),
}


def is_cut(n: Node) -> bool:
    """Whether a conversion may change a value."""
    return n.type.dtype == "int64" and n.args[0].type.dtype.startswith("float")


def is_mean(n: Node) -> bool:
    """Whether the node is sum(x)/n."""
    return is_div(n) and is_sum(n.args[0]) and n.args[1].op.by_shape


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
