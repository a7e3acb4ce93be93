"""Loop IR to a tape, where it is straight: scalars, and sums over samples of values a sample.

What runs first and what runs later are two readings of one record; here is the quick one. Kernels with other loops,
with tables or with other types than double precision have none.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gradcompile.codegen.tape import (
    ADD,
    COPY,
    END,
    LANES,
    LENGTHS,
    LOADS,
    MAKING,
    MOST,
    NUMBERS,
    PASS,
    STEPS,
    STORES,
    Helper,
    Step,
    Tape,
    Word,
)
from gradcompile.codegen.values import Kind
from gradcompile.collector import collector_paused
from gradcompile.loops.expressions import Expression
from gradcompile.loops.ir import Assign, Do, Function, Loop, Module, Note, Return, Statement

SUMS = "gradcompile.library.sums"
LEVELS, SPAN = 32, 1024  # of `library.sums`; a test holds them to it
FEW = 64  # sums whose tree lies on the stack in machine code; with more of them it takes memory
CALLED = ("gradcompile.vmath", "gradcompile.library.primitives")  # whose functions of numbers are steps
SAME = ("float64", "to_float")  # calls that leave a number in double precision as it is
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


class Row(NamedTuple):
    """A step, where its result goes, and its three operands."""

    step: Step
    out: int
    read: tuple[int, ...]

    def words(self, slots: Mapping[int, int]) -> list[Word | str]:
        """The step with vectors where they lie."""
        return [self.step, *(slots.get(w, w) for w in (self.out, *self.read))]


class NoTape(Exception):
    """The kernel has something that no step does."""


class Value(NamedTuple):
    """Where a value stands: a slot of the frame, or minus one less the number of a vector; a truth value is 0 or 1."""

    slot: int
    is_truth: bool = False

    @property
    def is_lanes(self) -> bool:
        """Whether there is one in each lane."""
        return self.slot < 0


class Given(NamedTuple):
    """An array from outside: the word of its address among the arguments, and of its length."""

    word: int
    axes: int


class Total(NamedTuple):
    """The totals of a pass: their first slot, set when the pass is there."""

    slot: int


Meaning = Value | Given | Total
Names = dict[str, Meaning]


@collector_paused()
def tape_of(module: Module, kinds: Sequence[Kind]) -> Tape | None:
    """The tape of a module's kernel for these kinds of arguments; None if it has none."""
    try:
        return Taping(module, kinds).run()
    except NoTape:
        return None


class Taping:
    """Writes the tape of one kernel.

    image: the numbers that begin the frame, 0 where a value comes.  rows: steps before the next pass.  body: steps of
    the pass at hand.  kept: its vectors that last for the whole pass.
    """

    def __init__(self, module: Module, kinds: Sequence[Kind]) -> None:
        self.functions = {f.name: f for f in module.functions}
        self.origins = {name: origin for origin, names in module.imports.items() for name in names}
        self.width = next((int(c.value) for c in module.constants if c.name == "LANES"), LANES)
        self.kinds = kinds
        self.image: list[float] = []
        self.numbers: dict[str, Value] = {}
        self.inputs: dict[int, list[int]] = {LOADS: [], NUMBERS: [], LENGTHS: []}
        self.loaded: dict[tuple[int, int, int], Value] = {}
        self.stored: dict[tuple[int, int], Value] = {}
        self.rows: list[Row] = []
        self.body: list[Row] = []
        self.sections: list[Word | str] = []  # text is a place that is known at the end
        self.vectors = 0
        self.kept: dict[int, int] = {}  # vectors by what is copied to all lanes, or by minus one less their column
        self.most = 0  # vectors at a time
        self.sums = 0  # the most sums of a pass
        self.steps = 0  # those in lanes count four times
        self.fails = False  # whether machine code takes memory

    def run(self) -> Tape:
        """The words."""
        kernel = self.functions["kernel"]
        names: Names = {}
        word = 0
        for argument, kind in zip(kernel.args, self.kinds, strict=True):
            if kind[0] != "double" or (len(kind) == 3 and kind[2] is not True):
                raise NoTape
            if len(kind) == 2:
                names[argument] = self.brought(NUMBERS, word)
                word += 1
            else:
                names[argument] = Given(word, len(kind[1]))
                word += 1 + len(kind[1])
        result = self.function(kernel, names)
        self.flush()
        begin = len(self.image)
        lanes = -(-begin // 8) * 8
        sums = lanes + LANES * self.most
        tree = sums + LANES * self.sums
        size = tree + LEVELS * self.sums
        if size > MOST and not self.fails:
            raise NoTape  # machine code needs no memory
        stores = [w for (word, place), v in self.stored.items() for w in (word, place, v.slot)]
        inputs = [w for kind, found in self.inputs.items() if found for w in (kind, len(found) // 3, *found)]
        places = {"sums": sums, "tree": tree, "lanes": lanes}
        words = [*self.placed(self.sections, places), *((STORES, len(stores) // 3, *stores) if stores else ())]
        image = struct.unpack(f"<{begin}q", struct.pack(f"<{begin}d", *self.image))
        return Tape([size, begin, *image, *inputs, *words, END, result.slot], self.steps * MAKING)

    def placed(self, words: Iterable[Word | str], places: Mapping[str, int]) -> list[Word]:
        """Words with the places that are known at last."""
        found: list[Word] = []
        for w in words:
            if isinstance(w, str):
                found.append(places[w])
            else:
                found.append(places["lanes"] + LANES * (-1 - w) if isinstance(w, int) and w < 0 else w)
        return found

    # ---- statements

    def function(self, function: Function, names: Names) -> Value:
        """What a function returns; its statements go onto the tape."""
        for s in function.body:
            if isinstance(s, Return):
                return self.returned(s.value, names)
            self.statement(s, names)
        raise NoTape

    def returned(self, x: Expression, names: Names) -> Value:
        """The value of a return; of a call of another function of the module what that returns."""
        if x.kind == "call" and x.word in self.functions:
            callee = self.functions[x.word]
            given = {a: self.meaning(part, names) for a, part in zip(callee.args, x.parts, strict=True)}
            return self.function(callee, given)
        return self.value(x, names)

    def meaning(self, x: Expression, names: Names) -> Meaning:
        """What an argument of a call is."""
        return names[x.word] if x.is_name and x.word in names else self.value(x, names)

    def statement(self, s: Statement, names: Names) -> None:
        """One statement of straight code, or a pass."""
        if isinstance(s, Assign):
            if s.target.is_name and s.value.kind == "call" and s.value.word == "zeros":
                self.zeros(s, names)
            elif s.target.is_name and s.how == "=":
                names[s.target.word] = self.value(s.value, names)
            else:
                self.store(s, names)
        elif isinstance(s, Do) and s.value.kind == "call" and s.value.word in self.functions:
            self.sample_pass(s.value, names)
        elif not isinstance(s, Note):
            raise NoTape

    def zeros(self, s: Assign, names: Names) -> None:
        """Totals, and trees, which have a place of their own."""
        shape, _ = s.value.parts
        if shape.kind == "number":
            names[s.target.word] = Total(len(self.image))
            self.image += [0.0] * int(shape.word)

    def store(self, s: Assign, names: Names) -> None:
        """An entry of an output."""
        array, *index = s.target.parts if s.target.kind == "element" else (s.target,)
        given = names.get(array.word)
        if not isinstance(given, Given) or len(index) != 1 or index[0].kind != "number":
            raise NoTape
        key, value = (given.word, int(index[0].word)), self.value(s.value, names)
        if s.how != "=":
            value = self.apply("{0} + {1}" if s.how == "+=" else "{0} - {1}", [self.stored[key], value])
        self.stored[key] = value

    # ---- passes over the samples

    def sample_pass(self, call: Expression, outer: Names) -> None:
        """A pass that adds up values of the samples, as `straight` writes it: scalars, sums, spans of turns."""
        function = self.functions[call.word]
        names: Names = {}
        for argument, part in zip(function.args[3:], call.parts[3:], strict=True):
            names[argument] = self.meaning(part, outer)
        match function.body:
            case [*head, Loop() as spans, Do(value=Expression(word="close_tree"))]:
                pass
            case _:
                raise NoTape
        for s in head:
            if not (isinstance(s, Assign) and s.value.kind == "call" and s.value.word == "zeros"):
                self.statement(s, names)
        turns = spans.body[0]
        if not isinstance(turns, Loop) or [p.text for p in call.parts[1:3]] != ["0", "n"]:
            raise NoTape
        columns: dict[int, int] = {}
        sources = [v.slot for s in turns.body if (v := self.lane_statement(s, names, columns)) is not None]
        total = next(v.slot for v in reversed(list(outer.values())) if isinstance(v, Total))
        self.close(columns, sources, total)

    def lane_statement(self, s: Statement, names: Names, columns: dict[int, int]) -> Value | None:
        """A statement in all lanes; what it adds to a sum, if it does."""
        if isinstance(s, Note):
            return None
        if not isinstance(s, Assign):
            raise NoTape
        value = self.value(s.value, names, columns)
        if s.target.is_name and s.how == "=":
            names[s.target.word] = value
            return None
        if s.target.kind != "element" or s.target.parts[0].word != "sums" or s.how == "=":
            raise NoTape
        return self.in_lanes(self.apply("-{0}", [value]) if s.how == "-=" else value)

    def close(self, columns: Mapping[int, int], sources: Sequence[int], total: int) -> None:
        """The section of a pass; its vectors get their slots."""
        count = len(sources)
        if not columns:
            raise NoTape
        self.fails |= count > FEW
        slots = self.slots(sources)
        self.flush(slots)
        body = [w for row in self.body for w in row.words(slots)]
        self.sections += [PASS, len(columns), next(iter(columns)) + 1, ADD]
        self.sections += [Helper(SUMS, "close_span"), Helper(SUMS, "close_tree"), "sums", count, "tree", total]
        self.sections += [len(self.body), self.width, LEVELS, SPAN]
        self.sections += [w for word, v in columns.items() for w in (word, 0, slots[v])]
        self.sections += [*(slots[v] for v in sources), *body]
        self.sums = max(self.sums, count)
        self.steps += 4 * len(self.body)
        self.body, self.kept, self.vectors = [], {}, 0

    def slots(self, sources: Sequence[int]) -> dict[int, int]:
        """Where vectors lie: one whose last reader is past gives its place to the next."""
        read_by = [[w for w in row.read if w < 0] for row in self.body]
        last = {w: k for k, read in enumerate(read_by) for w in read}
        held = {*self.kept.values(), *sources}
        found = {v: -1 - k for k, v in enumerate(self.kept.values())}
        count, free = len(found), list[int]()
        for k, (read, row) in enumerate(zip(read_by, self.body, strict=True)):
            free += [found[w] for w in dict.fromkeys(read) if last[w] == k and w not in held]
            if free:
                found[row.out] = free.pop()
            else:
                found[row.out] = -1 - count
                count += 1
        self.most = max(self.most, count)
        return found

    def flush(self, slots: Mapping[int, int] = {}) -> None:
        """The section of steps so far."""
        if self.rows:
            self.sections += [STEPS, len(self.rows), *(w for row in self.rows for w in row.words(slots))]
            self.steps += len(self.rows)
            self.rows = []

    # ---- values

    def value(self, x: Expression, names: Names, columns: dict[int, int] | None = None) -> Value:
        """Where the value of an expression stands. Expressions are a line long, so this may recurse."""
        match x.kind:
            case "name":
                found = names.get(x.word)
                if isinstance(found, Value):
                    return found
            case "number":
                return self.number(x.word)
            case "group":
                return self.value(x.parts[0], names, columns)
            case "element":
                return self.element(x, names, columns)
            case "length":
                array = names.get(x.parts[0].word)
                if isinstance(array, Given) and x.parts[1].word == "0":
                    return self.brought(LENGTHS, array.word + 1)
            case "negative":
                return self.apply("-{0}", [self.value(x.parts[0], names, columns)])
            case "not":
                return self.apply("0.0 if {0} != 0.0 else 1.0", [self.value(x.parts[0], names, columns)], True)
            case "operation":
                return self.operation(x.word, x.parts, names, columns)
            case "choice":
                condition, first, second = (self.value(p, names, columns) for p in x.parts)
                if first.is_truth == second.is_truth:
                    return self.apply("{1} if {0} != 0.0 else {2}", [condition, first, second], first.is_truth)
            case "call":
                return self.call(x, names, columns)
        raise NoTape

    def number(self, word: str) -> Value:
        """A constant number."""
        if word in ("True", "False"):
            raise NoTape
        if word not in self.numbers:
            self.numbers[word] = Value(len(self.image))
            self.image.append(float(word.replace('float("', "").replace('")', "")))
        return self.numbers[word]

    def brought(self, kind: int, word: int, place: int = 0) -> Value:
        """A number from outside, in a slot of its own."""
        key = kind, word, place
        if key not in self.loaded:
            self.loaded[key] = Value(len(self.image))
            self.inputs[kind] += [word, place, len(self.image)]
            self.image.append(0.0)
        return self.loaded[key]

    def element(self, x: Expression, names: Names, columns: dict[int, int] | None) -> Value:
        """An entry of theta or of totals, or a column's in all lanes."""
        array, *index = x.parts
        source = names.get(array.word)
        if len(index) == 1 and index[0].kind == "number":
            if isinstance(source, Total):
                return Value(source.slot + int(index[0].word))
            if isinstance(source, Given) and source.axes == 1:
                return self.brought(LOADS, source.word, int(index[0].word))
        if isinstance(source, Given) and source.axes == 1 and columns is not None and index[0].text == "i":
            if source.word not in columns:
                columns[source.word] = self.kept[-1 - source.word] = self.vector()
            return Value(columns[source.word])
        raise NoTape

    def operation(
        self, symbol: str, parts: Sequence[Expression], names: Names, columns: dict[int, int] | None
    ) -> Value:
        """Operations of one symbol, from left to right."""
        found = self.value(parts[0], names, columns)
        for part in parts[1:]:
            if part.kind == "less":
                found = self.apply("{0} - {1}", [found, self.value(part.parts[0], names, columns)])
                continue
            both = [found, self.value(part, names, columns)]
            truths = sum(v.is_truth for v in both)
            if symbol in "&|^" and truths == 2:
                found = self.apply(f"1.0 if ({{0}} != 0.0) {symbol} ({{1}} != 0.0) else 0.0", both, True)
            elif symbol in COMPARISONS and not truths:
                found = self.apply(f"1.0 if {{0}} {symbol} {{1}} else 0.0", both, True)
            elif symbol in "+-*/" and not truths:
                found = self.apply(f"{{0}} {symbol} {{1}}", both)
            else:
                raise NoTape
        return found

    def call(self, x: Expression, names: Names, columns: dict[int, int] | None) -> Value:
        """The value of a function of numbers; whole numbers among its arguments are part of the step."""
        if x.word in SAME:
            return self.value(x.parts[0], names, columns)
        origin = self.origins.get(x.word, "")
        if origin not in CALLED:
            raise NoTape
        texts, given = list[str](), list[Value]()
        for part in x.parts:
            if part.kind == "number" and part.word.lstrip("-").isdigit():
                texts.append(part.word)
            else:
                texts.append(f"{{{len(given)}}}")
                given.append(self.value(part, names, columns))
        if not given or any(v.is_truth for v in given):
            raise NoTape
        return self.apply(f"{x.word}({', '.join(texts)})", given, False, x.word, origin)

    def apply(
        self, text: str, operands: Sequence[Value], is_truth: bool = False, function: str = "", origin: str = ""
    ) -> Value:
        """A step, in all lanes if one of its operands is."""
        if len(operands) > 3:
            raise NoTape
        lanes = any(v.is_lanes for v in operands)
        slots = [(self.in_lanes(v) if lanes else v).slot for v in operands]
        slots += [0] * (3 - len(slots))
        if lanes:
            out = self.vector()
        else:
            out = len(self.image)
            self.image.append(0.0)
        (self.body if lanes else self.rows).append(Row(Step(text, function, origin, lanes), out, tuple(slots)))
        return Value(out, is_truth)

    def in_lanes(self, v: Value) -> Value:
        """The value in all lanes."""
        if v.is_lanes:
            return v
        if v.slot not in self.kept:
            self.kept[v.slot] = self.vector()
            self.rows.append(Row(COPY, self.kept[v.slot], (v.slot, 0, 0)))
        return Value(self.kept[v.slot], v.is_truth)

    def vector(self) -> int:
        """A new vector."""
        self.vectors += 1
        return -self.vectors
