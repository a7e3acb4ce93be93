"""A generated module as a file of its own: what it uses of the package is written into it, its lowering included.

Names are resolved to the statements that define them, through all imports, and what these use in turn is found the same
way. The file has one namespace, and in it every name keeps its meaning: where two modules mean different things by one
name, one of them gets another. The generated text is served first, so it stays as it is.
"""

import ast
import errno
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from gradcompile.codegen import cache, lines_of
from gradcompile.codegen import functions as jit
from gradcompile.errors import GraphError
from gradcompile.once import once


class Symbol(NamedTuple):
    """What a name stands for: the module that defines it, and its name there; "" for a module of Python's itself."""

    module: str
    name: str
    is_ours: bool = True


SELF = ""  # the name of the generated module
PRIMITIVES = "gradcompile.library.primitives"  # the lowering knows their functions by __name__
DISPATCHER = Symbol("gradcompile.codegen", "dispatcher")
JIT, NJIT = (Symbol("gradcompile.codegen.functions", name) for name in ("jit", "njit"))
DECORATORS = {
    JIT: '''def {jit}(function):
    """Compile a function of the subset from its own text: IEEE arithmetic, no GIL, cached beside this file."""
    import numba

    options = {{"cache": True, "nogil": True, "error_model": "numpy"}}
    return function if numba.config.DISABLE_JIT else {dispatcher}(function, **options)''',
    NJIT: '''def {njit}(function):
    """Compile a function that needs more of Python: it goes through Numba's front end."""
    import numba

    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)''',
}
TITLES = {
    DISPATCHER.module: "to machine code: functions in a subset of Python, from their text to LLVM IR",
    PRIMITIVES: "what is an instruction in machine code",
    "gradcompile.library.sums": "sums over samples",
    "gradcompile.library.routines": "routines on one matrix or row",
    "gradcompile.library.special": "special functions",
    "gradcompile.library.joint": "special functions",
    "gradcompile.library.blas": "matrix products",
    SELF: "the generated functions",
}


def save(source: str, path: str | Path) -> None:
    """Write a generated module as a file that needs no gradcompile; see `write_file`."""
    write_file(path, standalone(source))


def write_file(path: str | Path, content: str | bytes) -> None:
    """Write a file for others to read, in one step; replaces what was there.

    Raises OSError, with the path, where it can't be written.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {target.parent}, make it first", str(target))
    try:
        cache.write_private(target, content)
        target.chmod(0o644)
    except OSError as error:  # of the file that is written first, and then gets this name
        raise type(error)(error.errno, error.strerror, str(target)) from None


def standalone(source: str) -> str:
    """The text of a generated module with every definition of the package that it uses, and a header that says what
    it needs.
    """
    return Assembly(Text(SELF, source)).text()


# ---- modules and what they define


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement: its tree, its text with decorators, what it binds, and what it looks up in the module."""

    tree: ast.stmt
    text: str
    binds: frozenset[str]
    uses: frozenset[str]


def read_statement(tree: ast.stmt, lines: list[str]) -> Statement:
    """A statement of a text that is given in lines."""
    first = min([tree.lineno, *(d.lineno for d in getattr(tree, "decorator_list", []))])
    text = "".join(lines[first - 1 : tree.end_lineno]).rstrip("\n")
    table = symtable.symtable(text, "", "exec")
    binds = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    return Statement(tree, text, frozenset(binds), frozenset(looked_up(table)))


def looked_up(table: symtable.SymbolTable) -> Iterator[str]:
    """The names that a scope and those in it look up in the module."""
    outermost = table.get_type() == "module"
    yield from (s.get_name() for s in table.get_symbols() if s.is_referenced() and (outermost or s.is_global()))
    for inner in table.get_children():
        yield from looked_up(inner)


class Text:
    """A module by its text."""

    def __init__(self, name: str, source: str) -> None:
        self.name, lines = name, lines_of(source)
        tree = ast.parse(source)
        self.docstring = ast.get_docstring(tree, clean=False) or ""
        own = [read_statement(s, lines) for s in tree.body[1 if self.docstring else 0 :]]
        self.statements = [s for statement in own for s in (retold(statement, own) or [statement])]

    @once
    def homes(self) -> dict[str, list[int]]:
        """The places of the statements that bind each name."""
        found: dict[str, list[int]] = {}
        for k, s in enumerate(self.statements):
            for name in s.binds:
                found.setdefault(name, []).append(k)
        return found

    @once
    def calls(self) -> list[int]:
        """The places of the calls that a module makes when it is imported: all in it relies on them."""
        trees = (s.tree for s in self.statements)
        return [k for k, tree in enumerate(trees) if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Call)]

    def symbol(self, name: str) -> Symbol | None:
        """What a name stands for in the module, through imports; None if it is one of Python's own."""
        if name in self.homes:
            return imported(self.statements[self.homes[name][0]].tree, name) or Symbol(self.name, name)
        imports = (s.tree for s in self.statements if isinstance(s.tree, ast.ImportFrom))
        stars = (tree.module for tree in imports if tree.names[0].name == "*" and is_ours(tree.module))
        return next((symbol for star in stars if star and (symbol := module(star).symbol(name))), None)


def retold(s: Statement, own: Sequence[Statement]) -> list[Statement]:
    """What a call of `retell` brings: the statements of another module, but for names that the module binds itself."""
    match s.tree:
        case ast.Expr(value=ast.Call(func=ast.Name(id="retell"), args=[ast.Constant(value=str(name)), _])):
            bound = {n for other in own for n in other.binds}
            return [other for other in module(name).statements if not other.binds <= bound]
    return []


def is_ours(name: str | None) -> bool:
    """Whether a module is one of the package."""
    return (name or "").partition(".")[0] == "gradcompile"


def imported(tree: ast.stmt, name: str) -> Symbol | None:
    """What an import statement binds a name to; None for any other statement."""
    if not isinstance(tree, ast.Import | ast.ImportFrom):
        return None
    alias = next(a for a in tree.names if (a.asname or a.name.partition(".")[0]) == name)
    if isinstance(tree, ast.Import):
        return Symbol(alias.name, "", False)
    found = Symbol(tree.module or "", alias.name, is_ours(tree.module))
    return module(found.module).symbol(found.name) if found.is_ours and found not in DECORATORS else found


@lru_cache(maxsize=32)
def module(name: str) -> Text:
    """A module of the package."""
    text = jit.package_text(name.removeprefix("gradcompile."))
    if text is None:
        raise GraphError(f"there is no module {name} to save a part of")
    return Text(name, text)


# ---- the file


@dataclass
class Assembly:
    """The file in the making.

    taken: the places of the statements that go into it, by module. uses: the symbols these use, by module, under their
    names there. names: what each symbol is called in the file.
    """

    main: Text
    taken: dict[str, set[int]] = field(default_factory=dict)
    uses: dict[str, dict[str, Symbol]] = field(default_factory=dict)
    names: dict[Symbol, str] = field(default_factory=dict)

    def text(self) -> str:
        """The text of the file."""
        for k in range(len(self.main.statements)):
            self.take_statement(self.main, k)
        self.name_all()
        own = [text for symbol, text in DECORATORS.items() if symbol in self.names]
        known = {"jit": self.names.get(JIT), "njit": self.names.get(NJIT), "dispatcher": self.names.get(DISPATCHER)}
        parts = [self.part(name) for name in self.order()]
        first = DISPATCHER.module in self.taken  # the lowering stands before the decorators, what they decorate after
        body = "\n\n\n".join([*parts[:first], *(text.format_map(known) for text in own), *parts[first:]])
        needs = "NumPy, Numba and SciPy" if "scipy" in body else "NumPy and Numba"
        raw = "r" if "\\" in self.main.docstring else ""
        title = f'{raw}"""{self.main.docstring.rstrip()}\n\nA file of its own: it needs {needs}.\n"""'
        return "\n".join([title, "", *self.imports(), "", "", body, ""])

    # ---- which statements

    def take(self, symbol: Symbol) -> None:
        """Take the statements that define a symbol, and what they use."""
        if symbol == JIT:
            symbol = DISPATCHER
        if symbol.is_ours and symbol not in DECORATORS:
            text = self.read(symbol.module)
            for k in (*text.homes[symbol.name], *text.calls):
                self.take_statement(text, k)

    def take_statement(self, text: Text, place: int) -> None:
        """Take one statement and what it uses."""
        taken, s = self.taken.setdefault(text.name, set()), text.statements[place]
        if place in taken or isinstance(s.tree, ast.Import | ast.ImportFrom):
            return
        if any(isinstance(n, ast.ImportFrom) and is_ours(n.module) for n in ast.walk(s.tree)):
            raise GraphError(
                f"{text.name}, line {s.tree.lineno}: what a function imports itself can't be saved with it"
            )
        taken.add(place)
        uses = self.uses.setdefault(text.name, {})
        for name in sorted(s.binds | s.uses):
            if (symbol := text.symbol(name)) is not None:
                uses[name] = symbol
                self.take(symbol)

    def read(self, name: str) -> Text:
        """A module by its name."""
        return self.main if name == SELF else module(name)

    def order(self) -> list[str]:
        """The modules: the lowering, then each after those that it uses."""
        found: dict[str, None] = {}

        def visit(name: str) -> None:
            for symbol in self.uses.get(name, {}).values():
                if symbol.module in self.taken and symbol.module not in (name, *found):
                    visit(symbol.module)
            found.setdefault(name)

        if DISPATCHER.module in self.taken:
            visit(DISPATCHER.module)
        visit(SELF)
        return list(found)

    # ---- what they are called

    def name_all(self) -> None:
        """Give each symbol a name of its own: the generated text chooses first, then what is known by its name."""
        statements = [(name, self.read(name).statements[k]) for name, places in self.taken.items() for k in places]
        words = {w for _, s in statements for w in names_in(s.tree)}
        claimed = {u for name, s in statements for u in s.uses if u not in self.uses[name]}  # Python's own
        order = sorted(self.uses, key=lambda name: (name != SELF, name != PRIMITIVES))
        wishes = [pair for name in order for pair in self.uses[name].items()]
        wishes += [("dispatcher", DISPATCHER)] if DISPATCHER.module in self.taken else []
        for wish, symbol in wishes:
            if symbol not in self.names:
                name = wish if wish not in claimed else unused(f"{symbol.module.rpartition('.')[2]}_{wish}", words)
                self.names[symbol] = name
                claimed.add(name)

    def imports(self) -> list[str]:
        """The import statements, sorted."""
        found: dict[str, list[str]] = {}
        for symbol, name in sorted(self.names.items()):
            if not symbol.is_ours:
                known_as = symbol.name or symbol.module.partition(".")[0]
                text = (symbol.name or symbol.module) + (f" as {name}" if name != known_as else "")
                found.setdefault(f"from {symbol.module} import " if symbol.name else f"import {text}", []).append(text)
        lines = [head + ", ".join(texts) if head.endswith(" import ") else head for head, texts in found.items()]
        return sorted(lines, key=lambda line: (line.startswith("from "), line))

    # ---- their texts

    def part(self, name: str) -> str:
        """What is taken from one module, under a title."""
        text = f"# ---- {TITLES.get(name) or name.removeprefix('gradcompile.')}\n"
        was_definition = True
        for k in sorted(self.taken[name]):
            s = self.read(name).statements[k]
            is_definition = isinstance(s.tree, ast.FunctionDef | ast.ClassDef)
            text += "\n\n" * (is_definition or was_definition) if text else ""
            text += self.renamed(name, s) + "\n"
            was_definition = is_definition
        return text.rstrip()

    def renamed(self, module: str, s: Statement) -> str:
        """The text of a statement, under the names that hold in the file."""
        uses = self.uses[module]
        new = {n: self.names[uses[n]] for n in s.binds | s.uses if n in uses and self.names[uses[n]] != n}
        if not new:
            return s.text
        text = ast.unparse(Renamer(new).visit(ast.parse(s.text)))
        if set(looked_up(symtable.symtable(text, "", "exec"))) != {new.get(n, n) for n in s.uses}:
            raise GraphError(f"{module}: {', '.join(s.binds)} can't get other names, a local variable is in the way")
        if module == PRIMITIVES and isinstance(s.tree, ast.FunctionDef) and s.tree.name in new:
            text += f'\n{new[s.tree.name]}.__name__ = "{s.tree.name}"'
        return text


def names_in(tree: ast.stmt) -> Iterator[str]:
    """The names that stand in a statement, of variables, arguments and definitions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


def unused(wish: str, words: set[str]) -> str:
    """A name that stands nowhere in the texts."""
    while wish in words:
        wish += "_"
    words.add(wish)
    return wish


class Renamer(ast.NodeTransformer):
    """Gives the names of a module others, where they are not names of a function's own."""

    def __init__(self, new: dict[str, str]) -> None:
        self.new = new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """A name that is looked up or bound."""
        node.id = self.new.get(node.id, node.id)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        """A class of the module."""
        node.name = self.new.get(node.name, node.name)
        self.generic_visit(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """A function: its decorators, defaults and annotations stand outside."""
        node.name = self.new.get(node.name, node.name)
        own = {n.arg for n in ast.walk(node.args) if isinstance(n, ast.arg)}
        own |= {
            n.id for s in node.body for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        inner = Renamer({old: new for old, new in self.new.items() if old not in own})
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        node.args = self.visit(node.args)
        node.returns = node.returns and self.visit(node.returns)
        node.body = [inner.visit(s) for s in node.body]
        return node
