"""Products of matrices in tiles that stay in registers, where that is quicker than a call of BLAS.

A tile is a part of the result, some rows by some vectors. For each term of its sums, one row of b is read as vectors,
and each number of a's column meets them all. Tiles at an edge compute rows more than once and write the vectors' first
lanes alone. If the terms are what lies side by side in b, not the columns, a panel of b as wide as a tile is turned
first. Every entry is the sum of its terms in their order, DEPTH at a time, by fused multiplication and addition, so its
bits do not depend on the tiles.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from gradcompile.codegen.lines import ArrayLines, Declarations, Lines
from gradcompile.codegen.parallel_gemm import WORTH
from gradcompile.codegen.target import PREFIX, features
from gradcompile.codegen.values import ATTRIBUTES, FLOATS, SIZES, Array, Value, immediate, number, typed

DEPTH = 128  # terms that are added up before they meet others: a tile's part of b stays in the first-level cache
NAMED = 500  # what a length that is not known counts as
SMALL = 1_000_000  # multiplications up to which a product is small for BLAS
LARGE = NAMED * NAMED  # entries of a result from which on it is large
FEW, NARROW = 32, 16  # rows, and columns or terms
PARTS, TURNED = 8, 64  # of a large product; rows, at least, of a part that turns a panel
ONE = number(1)
MATRICES = "ptr noalias %c, i64 %cs, ptr %a, i64 %ar, i64 %ak, ptr %b, i64 %bs"  # with strides of rows and terms
SIZED = f"{MATRICES}, i64 %rows, i64 %columns, i64 %terms"


class Tile(NamedTuple):
    """A tile: its number type, the lanes of a vector, its rows, the vectors of a row, whether b has to be turned."""

    type: str
    lanes: int
    rows: int
    vectors: int
    turned: bool

    @property
    def columns(self) -> int:
        """The entries of a row."""
        return self.lanes * self.vectors

    @property
    def mark(self) -> str:
        """A part of the name of functions made for it."""
        return f"{self.type}.{self.rows}x{self.vectors}{'.turned' * self.turned}"


@lru_cache(maxsize=1)
def registers() -> tuple[int, int] | None:
    """The bytes of a vector register and how many there are; None if the processor does not fuse a*b + c."""
    if "+avx512f" in features():
        return 64, 32
    return (32, 16) if {"+avx2", "+fma"} <= features() else None


def tiled(w: ArrayLines, out: Array, a: Array, b: Array, alpha: float, beta: float) -> bool:
    """Write out = alpha*(a @ b) + beta*out in tiles, if BLAS would take longer."""
    if out.strides[1] != ONE:
        out, a, b = (x._replace(shape=x.shape[::-1], strides=x.strides[::-1]) for x in (out, b, a))
    tile = tile_for(w, out, a, b)
    if tile is None:
        return False
    places = out.strides[0], *a.strides, b.strides[1 if tile.turned else 0]
    sizes = *out.shape, a.shape[1]
    cs, ar, ak, bs, *counts = (f"i64 {w.converted(v, 'i64', 1)}" for v in (*places, *sizes))
    sign = immediate(alpha if beta else 0.0, tile.type, 1)
    exact = out.shape[1].type == "literal" and out.shape[1].text % tile.columns == 0
    given = [f"ptr {out.text}", cs, f"ptr {a.text}", ar, ak, f"ptr {b.text}", bs, *counts, f"{tile.type} {sign}"]
    known = [v.text for v in (*out.shape, a.shape[1]) if v.type == "literal"]
    is_small = len(known) == 3 and math.prod(map(int, known)) < WORTH
    name = (product_function if is_small else product_in_parts)(w.unit, tile, exact)
    w.lines.append(f"  call void @{name}({', '.join(given)})")
    return True


def tile_for(w: ArrayLines, out: Array, a: Array, b: Array) -> Tile | None:
    """The tile for a product; None where BLAS is as quick, or the matrices do not lie as BLAS takes them."""
    found = registers()
    if found is None or out.type not in FLOATS or not out.type == a.type == b.type:
        return None
    if out.strides[1] != ONE or ONE not in a.strides or ONE not in b.strides:
        return None
    turned, by_rows = b.strides[1] != ONE, a.strides[1] == ONE
    rows, columns = (most_of(w, n) for n in out.shape)
    terms = min(most_of(w, n) for n in (a.shape[1], b.shape[0]))  # an input may not say
    if not is_better(rows, columns, terms, turned, by_rows):
        return None
    lanes, many = found[0] // SIZES[out.type], found[1] > 16
    vectors = min(-(-columns // lanes), 2 if turned or not many else 4)
    height = 6 if not many else 8 if vectors <= 2 else 6 if rows > FEW else 4
    return Tile(out.type, lanes, height, vectors, turned)


def is_better(rows: int, columns: int, terms: int, turned: bool, by_rows: bool) -> bool:
    """Whether tiles are quicker than BLAS, as measured; by_rows: whether the terms lie side by side in a.

    BLAS has code of its own for small products. It is as good, but where terms lie side by side in both operands, or in
    b and are few. To turn a panel takes rows that use it. Of a large result BLAS makes better use of the caches.
    """
    if columns < NARROW or rows * columns >= LARGE:
        return False
    if not turned or rows * columns * terms > SMALL:
        return rows * columns * terms > SMALL
    return rows >= FEW and (by_rows or terms <= NARROW)


def most_of(w: ArrayLines, length: Value) -> int:
    """A length, or the most that it is, or what one counts as that is not known."""
    return int(length.text) if length.type == "literal" else w.most.get(length.text, NAMED)


class Kernel(Lines):
    """The lines of a function for tiles."""

    def __init__(self, unit: Declarations, tile: Tile) -> None:
        super().__init__(unit)
        self.tile = tile
        self.type, self.lanes, self.size = tile.type, tile.lanes, SIZES[tile.type]
        self.whole = typed(tile.type, tile.lanes)

    def at(self, pointer: str, offset: str | int) -> str:
        """The address of an element."""
        return self.emit(f"getelementptr {self.type}, ptr {pointer}, i64 {offset}")

    def row(self, pointer: str, k: str | int, stride: str | int) -> str:
        """The address of the element k strides on."""
        return self.at(pointer, self.emit(f"mul i64 {k}, {stride}"))

    def minus(self, x: str, y: str | int) -> str:
        """The difference of two integers."""
        return self.emit(f"sub i64 {x}, {y}")

    def least(self, x: str | int, y: str | int) -> str:
        """The smaller of two integers."""
        name = self.unit.declare("llvm.smin.i64", "i64 @llvm.smin.i64(i64, i64)")
        return self.emit(f"call i64 @{name}(i64 {x}, i64 {y})")

    def rounded(self, x: str, y: str | int) -> str:
        """x/y, rounded up."""
        return self.emit(f"sdiv i64 {self.minus(self.emit(f'add i64 {x}, {y}'), 1)}, {y}")

    def field(self, k: int) -> str:
        """The address of a field of a product's frame."""
        return self.emit(f"getelementptr {framed(self.tile)}, ptr %frame, i32 0, i32 {k}")

    def most(self, x: str | int, y: str | int) -> str:
        """The larger of two integers."""
        name = self.unit.declare("llvm.smax.i64", "i64 @llvm.smax.i64(i64, i64)")
        return self.emit(f"call i64 @{name}(i64 {x}, i64 {y})")

    def first(self, count: str) -> str:
        """The mask of the first lanes, so many."""
        lanes = ", ".join(f"i64 {k}" for k in range(self.lanes))
        return self.emit(f"icmp slt <{self.lanes} x i64> <{lanes}>, {self.spread(count, 'i64', self.lanes)}")

    def read(self, place: str, mask: str = "") -> str:
        """The vector at an address, 0 where the mask is false."""
        if not mask:
            return self.emit(f"load {self.whole}, ptr {place}, align {self.size}")
        return self.load_masked(self.type, self.lanes, place, mask, "zeroinitializer")

    def write(self, value: str, place: str, mask: str = "") -> None:
        """Write a vector, where the mask is true."""
        if not mask:
            self.lines.append(f"  store {self.whole} {value}, ptr {place}, align {self.size}")
            return
        self.store_masked(self.type, self.lanes, value, place, mask)

    def fused(self, x: str, y: str, z: str) -> str:
        """x*y + z."""
        name = self.unit.intrinsic("fma", self.type, self.lanes, 3)
        return self.emit(f"call {self.whole} @{name}({', '.join(f'{self.whole} {v}' for v in (x, y, z))})")

    def transposed(self, rows: Sequence[str]) -> list[str]:
        """The columns of a square of vectors: what two rows exchange doubles from step to step."""
        found, step = list(rows), 1
        while step < self.lanes:
            for r in (r for r in range(self.lanes) if not r & step):
                pair = found[r], found[r + step]
                found[r], found[r + step] = (self.mixed(*pair, step, half) for half in (0, step))
            step *= 2
        return found

    def mixed(self, x: str, y: str, step: int, half: int) -> str:
        """Of x and y in turn so many lanes, from the same half of every two such groups."""
        lanes = [k - (k & step) + half + (self.lanes if k & step else 0) for k in range(self.lanes)]
        mask = f"<{self.lanes} x i32> <{', '.join(f'i32 {k}' for k in lanes)}>"
        return self.emit(f"shufflevector {self.whole} {x}, {self.whole} {y}, {mask}")

    def define(self, name: str, parameters: str) -> None:
        """Make a function of the lines."""
        head = f"define internal void @{name}({parameters}) noinline {ATTRIBUTES} {{\nentry:"
        body = [*self.entry, "  br label %start", "start:", *self.lines]
        self.unit.declared[name] = "\n".join([head, *body, "  ret void", "}"])


def tile_function(unit: Declarations, tile: Tile, masked: bool) -> str:
    """The function for one tile: set if sign is 0, else added sign times.

    rows, left: how many rows and columns there are from the tile's first on, which may be fewer or more than it has.
    """
    name = f"{unit.mark}.tile.{tile.mark}{'.masked' * masked}"
    if name in unit.declared:
        return name
    w = Kernel(unit, tile)
    last, lines = w.minus("%rows", 1), range(tile.rows)
    row = [w.least(r, last) for r in lines]
    left = [w.row("%a", r, "%ar") for r in row]
    offsets = [v * tile.lanes for v in range(tile.vectors)]
    masks = [w.first(w.minus("%left", k)) if masked else "" for k in offsets]

    def term(k: str, sums: Sequence[str]) -> list[str]:
        b = w.row("%b", k, "%bs")
        right = [w.read(w.at(b, k), "" if tile.turned else mask) for k, mask in zip(offsets, masks, strict=True)]
        numbers = [w.emit(f"load {w.type}, ptr {w.row(x, k, '%ak')}, align {w.size}") for x in left]
        ones = [w.spread(x, w.type, w.lanes) for x in numbers]
        pairs = [(x, y) for x in ones for y in right]
        return [w.fused(x, y, z) for (x, y), z in zip(pairs, sums, strict=True)]

    sums = w.carry((0, "%terms", 1), w.whole, ["zeroinitializer"] * (tile.rows * tile.vectors), term, True)
    rows = [w.row("%c", r, "%cs") for r in row]
    places = [(w.at(c, k), mask) for c in rows for k, mask in zip(offsets, masks, strict=True)]
    sets, adding, writing = w.emit(f"fcmp oeq {w.type} %sign, {immediate(0.0, w.type, 1)}"), "adding", "writing"
    w.lines.append(f"  br i1 {sets}, label %{writing}, label %{adding}")
    before = w.block
    w.start(adding)
    sign = w.spread("%sign", w.type, w.lanes)
    added = [w.fused(sign, s, w.read(*place)) for s, place in zip(sums, places, strict=True)]
    w.jump(writing)
    w.start(writing)
    found = [w.emit(f"phi {w.whole} [{s}, %{before}], [{t}, %{adding}]") for s, t in zip(sums, added, strict=True)]
    for value, place in zip(found, places, strict=True):
        w.write(value, *place)
    w.define(name, f"{MATRICES}, i64 %rows, i64 %left, i64 %terms, {w.type} %sign")
    return name


def turning(unit: Declarations, tile: Tile) -> str:
    """The function that turns a panel: columns of b with their terms side by side become rows of a tile's columns."""
    name = f"{unit.mark}.turn.{tile.type}.{tile.vectors}"
    if name in unit.declared:
        return name
    w = Kernel(unit, tile)
    last = w.minus("%left", 1)

    def square(k: str, j: str) -> None:
        columns = [w.least(w.emit(f"add i64 {j}, {c}"), last) for c in range(tile.lanes)]
        mask = w.first(w.minus("%terms", k))
        found = w.transposed([w.read(w.at(w.row("%b", c, "%bs"), k), mask) for c in columns])
        panel = w.at(w.row("%panel", k, tile.columns), j)
        for t, value in enumerate(found):
            w.write(value, w.at(panel, t * tile.columns))

    w.repeat((0, "%terms", tile.lanes), lambda k: w.repeat((0, "%left", tile.lanes), lambda j: square(k, j), True))
    w.define(name, "ptr noalias %panel, ptr %b, i64 %bs, i64 %left, i64 %terms")
    return name


def product_function(unit: Declarations, tile: Tile, exact: bool) -> str:
    """The function for a whole product; exact: the columns are a multiple of those of a tile."""
    name = f"{unit.mark}.product.{tile.mark}{'.exact' * exact}"
    if name in unit.declared:
        return name
    w = Kernel(unit, tile)
    if tile.turned:
        w.entry.append(f"  %panel = alloca [{DEPTH * tile.columns} x {tile.type}], align 64")
    own = tile_function(unit, tile, not exact)

    def panel(j: str, k: str, terms: str, sign: str) -> None:
        c, a, bs = w.at("%c", j), w.row("%a", k, "%ak"), "%bs"
        left = w.least(w.minus("%columns", j), tile.columns)
        b = w.at(w.row("%b", j, "%bs"), k) if tile.turned else w.at(w.row("%b", k, "%bs"), j)
        if tile.turned:
            given = f"ptr %panel, ptr {b}, i64 %bs, i64 {left}, i64 {terms}"
            w.lines.append(f"  call void @{turning(unit, tile)}({given})")
            b, bs = "%panel", str(tile.columns)

        def one(i: str) -> None:
            c_i, a_i, below = w.row(c, i, "%cs"), w.row(a, i, "%ar"), w.minus("%rows", i)
            given = f"ptr {c_i}, i64 %cs, ptr {a_i}, i64 %ar, i64 %ak, ptr {b}, i64 {bs}"
            given += f", i64 {below}, i64 {left}, i64 {terms}, {tile.type} {sign}"
            w.lines.append(f"  call void @{own}({given})")

        w.repeat((0, "%rows", tile.rows), one, True)

    def part(k: str) -> None:
        zero, one = (immediate(x, tile.type, 1) for x in (0.0, 1.0))
        later, sets = w.emit(f"icmp sgt i64 {k}, 0"), w.emit(f"fcmp oeq {tile.type} %sign, {zero}")
        adds = w.emit(f"and i1 {later}, {sets}")
        sign = w.emit(f"select i1 {adds}, {tile.type} {one}, {tile.type} %sign")
        terms = w.least(w.minus("%terms", k), DEPTH)
        w.repeat((0, "%columns", tile.columns), lambda j: panel(j, k, terms, sign))

    w.repeat((0, w.most("%terms", 1), DEPTH), part)  # without terms the result is 0
    w.define(name, f"{SIZED}, {tile.type} %sign")
    return name


def product_in_parts(unit: Declarations, tile: Tile, exact: bool) -> str:
    """The function for a whole product: in parts if it is large and there are helpers (`parallel_gemm`).

    A part is some tiles of rows, or of columns if there are more of these. Where b has to be turned, each part of rows
    turns all of it, so columns are taken sooner, and a part has many rows. No entry depends on it.
    """
    whole = product_function(unit, tile, exact)
    name = f"{whole}.divided"
    if name in unit.declared:
        return name
    w = Kernel(unit, tile)
    work = w.emit(f"mul i64 {w.emit('mul i64 %rows, %columns')}, %terms")
    is_large = w.emit(f"icmp sge i64 {work}, {WORTH}")
    is_helped = w.emit(f"call i1 @{unit.declare(f'{PREFIX}helped', f'i1 @{PREFIX}helped()')}()")
    alone, cut, pays = w.label("alone"), w.label("cut"), w.emit(f"and i1 {is_large}, {is_helped}")
    w.lines += [f"  br i1 {pays}, label %{cut}, label %{alone}", f"{alone}:"]
    w.lines += [f"  call void @{whole}({', '.join(given(tile))})", "  ret void", f"{cut}:"]
    rows, columns = w.rounded("%rows", tile.rows), w.rounded("%columns", tile.columns)
    sooner, least = (PARTS, TURNED // tile.rows) if tile.turned else (1, 1)
    by_columns = w.emit(f"icmp sgt i64 {w.emit(f'mul i64 {columns}, {sooner}')}, {rows}")
    down, across = w.most(w.rounded(rows, PARTS), least), w.rounded(columns, PARTS)
    height, width = w.emit(f"mul i64 {down}, {tile.rows}"), w.emit(f"mul i64 {across}, {tile.columns}")
    tall = w.emit(f"select i1 {by_columns}, i64 %rows, i64 {height}")
    wide = w.emit(f"select i1 {by_columns}, i64 {width}, i64 %columns")
    frame = [*given(tile), f"i64 {tall}", f"i64 {wide}"]
    w.entry.append(f"  %frame = alloca {framed(tile)}")
    for k, value in enumerate(frame):
        w.lines.append(f"  store {value}, ptr {w.field(k)}")
    count = w.emit(f"mul i64 {w.rounded('%rows', tall)}, {w.rounded('%columns', wide)}")
    share = unit.declare(f"{PREFIX}share", f"void @{PREFIX}share(ptr, ptr, i64)")
    w.lines.append(f"  call void @{share}(ptr @{part(unit, tile, exact)}, ptr %frame, i64 {count})")
    w.define(name, f"{SIZED}, {tile.type} %sign")
    return name


def part(unit: Declarations, tile: Tile, exact: bool) -> str:
    """The function for a part of a product, by the frame with what `product_in_parts` was given, and its number."""
    whole = product_function(unit, tile, exact)
    name = f"{whole}.part"
    w = Kernel(unit, tile)
    types = [v.split()[0] for v in given(tile)]
    loaded = [w.emit(f"load {t}, ptr {w.field(k)}") for k, t in enumerate([*types, "i64", "i64"])]
    c, cs, a, ar, ak, b, bs, rows, columns, terms, sign, tall, wide = loaded
    across = w.rounded(columns, wide)
    i = w.emit(f"mul i64 {w.emit(f'sdiv i64 %number, {across}')}, {tall}")
    j = w.emit(f"mul i64 {w.emit(f'srem i64 %number, {across}')}, {wide}")
    c, a, b = w.at(w.row(c, i, cs), j), w.row(a, i, ar), w.row(b, j, bs if tile.turned else 1)
    rows, columns = w.least(w.minus(rows, i), tall), w.least(w.minus(columns, j), wide)
    values = (c, cs, a, ar, ak, b, bs, rows, columns, terms, sign)
    passed = ", ".join(f"{t} {v}" for t, v in zip(types, values, strict=True))
    w.lines.append(f"  call void @{whole}({passed})")
    w.define(name, "ptr %frame, i64 %number")
    return name


def given(tile: Tile) -> list[str]:
    """The arguments of a whole product, types and names."""
    return f"{SIZED.replace('noalias ', '')}, {tile.type} %sign".split(", ")


def framed(tile: Tile) -> str:
    """The type of what describes a product in parts: its arguments, the rows and the columns of a part."""
    return f"{{ {', '.join(v.split()[0] for v in given(tile))}, i64, i64 }}"
