"""Text to SymPy: a parser that knows numbers, names, operators and a list of functions, and nothing else.

No text is ever evaluated as code or handed to SymPy. Constant subexpressions are computed here, in exact fractions
while these are small and in checked floats otherwise, so that no text can ask SymPy for 10**10**10. Everything that
contains a name is built unevaluated, which is linear in the text and keeps the formula as it was written.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial
from itertools import pairwise
from typing import Any, NoReturn

import sympy as sp
from sympy.codegen import cfunctions

from gradcompile.errors import ParseError, meant

MAX_LENGTH = 10_000
MAX_NESTING = 100  # printing and hashing in SymPy recurse several frames a level
EXACT = 2**53  # integers up to here are floats too
SHOWN = 70  # characters of a long formula that an error quotes

Number = Fraction | float


@dataclass(frozen=True)
class Token:
    """A piece of the text and where it stands; the kind is 'number', 'name', 'op' or 'end'.

    A name that was quoted is a name whatever it is made of: no word of the language, no function, no constant.
    """

    kind: str
    text: str
    start: int
    is_quoted: bool = False

    @property
    def end(self) -> int:
        """One past the last character."""
        return self.start + len(self.text) + 2 * self.is_quoted

    @property
    def word(self) -> str:
        """What the language may know it by: nothing for a quoted name."""
        return "" if self.is_quoted else self.text


@dataclass
class _Item:
    """An operand: a SymPy expression or condition, with its value when it is constant.

    `chain` names the n-ary operation whose `parts` are still being collected.
    """

    expr: Any
    number: Number | None = None
    truth: bool | None = None
    condition: bool = False
    chain: str = ""
    parts: list[Any] = field(default_factory=list)


@dataclass
class _Pending:
    """An entry of the operator stack: an operator, a parenthesis, or a call with the arguments read so far."""

    token: Token
    precedence: int = 0
    prefix: bool = False
    call: str = ""
    arguments: list[_Item] = field(default_factory=list)


@dataclass(frozen=True)
class _Function:
    """What a call builds from expressions, and what it is worth on numbers (None: not a number even then)."""

    build: Callable[..., Any]
    value: Callable[..., float] | None
    least: int = 1
    most: int | None = 1


def parse(text: str, names: Mapping[str, sp.Symbol] | None = None) -> sp.Expr:
    """Return the formula `text` as a SymPy expression; it can't run code, name attributes or compute huge constants.

    Known are numbers, names, `+ - * / ** ^` (both powers), parentheses, the constants pi and E, the functions of
    `function_names()`, and `where(condition, a, b)` with comparisons joined by `and`, `or`, `not`. Any text between
    backticks is a name, such as `Temp (C)`. With `names`, only these names are allowed and stand for the given symbols;
    a name that is not called is never a function, so `gamma` and `beta` may be parameters. Integers and quotients of
    integers stay exact.

    Raises
    ------
    ParseError
        With the text, a marker under the position, and what to write instead: a character, name or function that is
        not known, an operand or parenthesis too few or too many, a constant outside the range of a float or not
        real, a text longer than 10,000 characters or nested deeper than 100 levels.

    Example
    -------
    >>> parse("a*exp(-b*x) + 1/3")
    a*exp(-b*x) + 1/3
    >>> parse("2 + sinn(x)")
    Traceback (most recent call last):
    ...
    gradcompile.errors.ParseError: unknown function 'sinn'; did you mean 'sin'?
      2 + sinn(x)
          ^^^^
    """
    return _Parser(text, names).run()


def parse_condition(text: str, names: Mapping[str, sp.Symbol] | None = None) -> Any:
    """Return a condition on names as a relation of SymPy, or true or false.

    >>> parse_condition("x > 0 and x < 2")
    (x > 0) & (x < 2)
    """
    return _Parser(text, names).run(is_condition=True)


def quoted(name: str) -> str:
    """A name as a formula spells it: between backticks where it needs them.

    >>> quoted("x_1"), quoted("Temp (C)")
    ('x_1', '`Temp (C)`')
    """
    plain = _NAME.fullmatch(name) and name not in (*_WORDS, *_CONSTANTS)
    return name if plain else f"`{name}`"


def names_in(text: str) -> dict[str, Token]:
    """Return the names that `text` uses other than as functions, in order of appearance, each with its first token.

    >>> list(names_in("a*exp(-b*`my x`) + a*pi"))
    ['a', 'b', 'my x', 'pi']
    """
    tokens = _tokens(text)
    found: dict[str, Token] = {}
    for token, following in pairwise(tokens):
        if token.kind == "name" and (token.is_quoted or (following.word != "(" and token.text not in _WORDS)):
            found.setdefault(token.text, token)
    return found


def is_constant(name: str) -> bool:
    """Say whether an undeclared `name` is a constant of mathematics.

    >>> is_constant("pi"), is_constant("x")
    (True, False)
    """
    return name in _CONSTANTS


def function_names() -> list[str]:
    """List the functions that formulas may call.

    >>> "exp" in function_names(), "open" in function_names()
    (True, False)
    """
    return sorted(_functions())


def fail(text: str, start: int, end: int, message: str) -> NoReturn:
    """Raise ParseError: the message, the part of `text` that holds the position, and a marker under it.

    >>> fail("a + $", 4, 5, "unexpected character '$'")
    Traceback (most recent call last):
    ...
    gradcompile.errors.ParseError: unexpected character '$'
      a + $
          ^
    """
    line = "".join(c if c.isprintable() else " " for c in text)
    first = max(0, min(start - SHOWN // 2, len(line) - SHOWN))
    shown = line[first : first + SHOWN]
    before, after = "..." if first else "", "..." if first + SHOWN < len(line) else ""
    width = max(1, min(end, first + SHOWN) - start)
    marker = " " * (len(before) + start - first) + "^" * width
    raise ParseError(f"{message}\n  {before}{shown}{after}\n  {marker}")


_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|(?P<name>[^\W\d]\w*)|`(?P<quoted>[^`]+)`"
    r"|(?P<op>\*\*|<=|>=|==|!=|[-+*/^()<>,=])|(?P<end>\Z))"
)
_NAME = re.compile(r"[^\W\d]\w*")
_WORDS = ("and", "or", "not")
_CONSTANTS = {"pi": (sp.pi, math.pi), "E": (sp.E, math.e)}
_COMPARISONS: dict[str, tuple[Any, Callable[[Number, Number], bool]]] = {
    "<": (sp.Lt, operator.lt),
    "<=": (sp.Le, operator.le),
    ">": (sp.Gt, operator.gt),
    ">=": (sp.Ge, operator.ge),
    "==": (sp.Eq, operator.eq),
    "!=": (sp.Ne, operator.ne),
}
_PRECEDENCE = {"or": 1, "and": 2, **dict.fromkeys(_COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6, "^": 8, "**": 8}
_PREFIX = {"not": 3, "-": 7, "+": 7}
_CHAINS = {"add": sp.Add, "mul": sp.Mul, "and": sp.And, "or": sp.Or}
_OTHERS = {  # what functions are called elsewhere
    **dict.fromkeys(("pow", "power"), "; write a**b"),
    **dict.fromkeys(("sqr", "square"), "; write a**2"),
    **dict.fromkeys(("if", "iif", "ifelse", "piecewise"), "; write where(condition, a, b)"),
    **{f"arc{f}": f"; write a{f}(x)" for f in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "tg": "; write tan(x)",
    "lg": "; write log10(x)",
    "sgn": "; write sign(x)",
    "fabs": "; write abs(x)",
    "factorial": "; write gamma(n + 1)",
    "root": "; write a**(1/n)",
}
_CURES = {
    "−": "write - for minus",  # noqa: RUF001 - the sign that word processors put
    "×": "write * for a product",  # noqa: RUF001
    "·": "write * for a product",
    "÷": "write / for a quotient",
    ".": "a formula has no attributes; a decimal number starts with a digit",
    "'": "a formula has no strings",
    '"': "a formula has no strings",
    "[": "a formula has no indices; give every column a name of its own",
    "{": "write ( and )",
    "%": "write mod(a, b) for the remainder",
    "&": "write 'and' between conditions",
    "|": "write 'or' between conditions, or abs(x)",
    "!": "write 'not', or gamma(n + 1) for a factorial",
    "~": "write 'not'",
    "`": "a name between backticks needs one on each side, and a letter at least between them",
}


def _tokens(text: str) -> list[Token]:
    """Cut `text` into tokens, the last of which is the end."""
    if len(text) > MAX_LENGTH:
        raise ParseError(f"the formula has {len(text)} characters; the limit is {MAX_LENGTH}: build it with SymPy")
    tokens: list[Token] = []
    at = 0
    while not tokens or tokens[-1].kind != "end":
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            cure = _CURES.get(text[at], "use names, numbers, + - * / ** ( ) and functions")
            fail(text, at, at + 1, f"unexpected character {text[at]!r}; {cure}")
        tokens.append(_token(match, match.lastgroup))
        at = match.end()
    return tokens


def _token(match: re.Match[str], kind: str) -> Token:
    if kind == "quoted":
        return Token("name", match[kind], match.start(kind) - 1, is_quoted=True)
    return Token(kind, match[kind], match.start(kind))


class _Parser:
    """Operator precedence with explicit stacks: the nesting of a text never becomes nesting of calls."""

    def __init__(self, text: str, names: Mapping[str, sp.Symbol] | None) -> None:
        self.text = text
        self.names = names
        self.tokens = _tokens(text)
        self.at = 0
        self.operands: list[_Item] = []
        self.pending: list[_Pending] = []

    def fail(self, token: Token, message: str) -> NoReturn:
        fail(self.text, token.start, token.end, message)

    def run(self, is_condition: bool = False) -> Any:
        operand_next = True
        while self.tokens[self.at].kind != "end":
            token = self.tokens[self.at]
            self.at += 1
            operand_next = self.operand(token) if operand_next else self.joint(token)
            if len(self.pending) > MAX_NESTING:
                self.fail(token, f"nested more than {MAX_NESTING} levels deep here; build the formula with SymPy")
        end = self.tokens[-1]
        if operand_next:
            self.fail(end, "a number, name or function is missing here" if len(self.tokens) > 1 else "no formula")
        self.reduce(0)
        if self.pending:
            self.fail(self.pending[-1].token, "this parenthesis is never closed; add )")
        return (self.condition if is_condition else self.expression)(self.operands.pop(), end)

    # -- where an operand may begin: returns whether an operand is still to come ------------------------------

    def operand(self, token: Token) -> bool:
        if token.kind == "number":
            self.operands.append(_constant(self.number(token)))
        elif token.word in _PREFIX:
            self.pending.append(_Pending(token, _PREFIX[token.text], prefix=True))
            return True
        elif token.kind == "name" and token.word not in _WORDS:
            return self.name(token)
        elif token.word == "(":
            self.pending.append(_Pending(token))
            return True
        elif token.word == ")" and self.pending and self.pending[-1].token.text == "(":
            self.fail(token, self.empty(self.pending[-1]))
        else:
            self.fail(token, f"a number, name or function is missing before {token.text!r}")
        return False

    def empty(self, opened: _Pending) -> str:
        return f"{opened.call}() needs {_arity(_functions()[opened.call])}" if opened.call else "empty parentheses"

    def number(self, token: Token) -> Number:
        following = self.tokens[self.at]
        if following.kind in ("name", "number") and following.start == token.end:
            product = f"write {token.text}*{following.text} for a product"
            cure = "write the digits without _" if following.text.startswith("_") else product
            fail(self.text, token.start, following.end, f"{token.text + following.text!r} is not a number; {cure}")
        value = float(token.text)
        if math.isinf(value) or (value == 0.0 and re.search("[1-9]", re.split("[eE]", token.text)[0])):
            self.fail(token, "this constant is outside the range of a float")
        return Fraction(int(token.text)) if token.text.isdecimal() and value <= EXACT else value

    def name(self, token: Token) -> bool:
        if self.tokens[self.at].word == "(" and not token.is_quoted:
            if token.text not in _functions():
                self.fail(token, self.unknown_function(token.text))
            self.pending.append(_Pending(self.tokens[self.at], call=token.text))
            self.at += 1
            return True
        if self.names is not None and token.text in self.names:
            self.operands.append(_Item(self.names[token.text]))
        elif token.word in _CONSTANTS:
            expr, number = _CONSTANTS[token.text]
            self.operands.append(_Item(expr, number))
        elif self.names is None:
            self.operands.append(_Item(sp.Symbol(token.text)))
        else:
            if token.word in _functions():
                self.fail(token, f"{token.text} is a function; write {token.text}(...)")
            self.fail(token, f"unknown name {token.text!r}{_meant(token.text, self.names, quoted)}")
        return False

    def unknown_function(self, name: str) -> str:
        if self.names is not None and name in self.names:
            return f"{name!r} is a variable, not a function; write {name}*(...) for a product"
        cure = (
            _OTHERS.get(name.lower())
            or _meant(name, _functions())
            or f"; write {name}*(...) for a product, or one of the functions there are"
        )
        return f"unknown function {name!r}{cure}"

    # -- where an operand has ended ---------------------------------------------------------------------------

    def joint(self, token: Token) -> bool:
        if token.word == ")":
            self.close(token)
            return False
        if token.word == ",":
            self.reduce(0)
            if not self.pending or not self.pending[-1].call:
                self.fail(token, "a comma stands only between the arguments of a function")
            self.pending[-1].arguments.append(self.operands.pop())
            return True
        precedence = _PRECEDENCE.get(token.word)
        if precedence is None:
            self.fail(token, self.misplaced(token))
        self.reduce(precedence if precedence == 8 else precedence - 1)
        if precedence == 4 and self.operands[-1].condition:
            self.fail(token, "comparisons can't be chained; write a < b and b < c")
        self.pending.append(_Pending(token, precedence))
        return True

    def misplaced(self, token: Token) -> str:
        if token.text == "=":
            return "'=' is not part of a formula; give the right-hand side alone, or write == to compare"
        if token.text == "not":
            return "'not' stands before a condition; write 'and' or 'or' between two"
        if token.word in ("if", "else"):
            return "a formula has no 'if'; write where(condition, a, b)"
        before = self.tokens[self.at - 2]
        if (
            before.kind == "name"
            and before.word in _functions()
            and (self.names is None or before.text not in self.names)
        ):
            return f"{before.text} is a function; write {before.text}({token.text})"
        return f"an operator is missing before {token.text!r}; write * for a product"

    def close(self, token: Token) -> None:
        self.reduce(0)
        if not self.pending:
            self.fail(token, "this parenthesis was never opened; remove it")
        opened = self.pending.pop()
        if opened.call:
            self.call(opened, [*opened.arguments, self.operands.pop()])
        else:
            _finish(self.operands[-1])

    # -- building ---------------------------------------------------------------------------------------------

    def reduce(self, above: int) -> None:
        """Apply the operators on top of the stack that bind more tightly than `above`."""
        while self.pending and self.pending[-1].precedence > above:
            entry = self.pending.pop()
            right = self.operands.pop()
            if entry.prefix:
                self.operands.append(self.prefixed(entry.token, right))
            else:
                self.operands.append(self.joined(entry.token, self.operands.pop(), right))

    def prefixed(self, token: Token, item: _Item) -> _Item:
        if token.text == "not":
            expr = self.condition(item, token)
            return _truth(not item.truth) if item.truth is not None else _condition(sp.Not(expr, evaluate=False))
        expr = self.expression(item, token)
        if token.text == "+":
            return item
        if item.number is not None and expr.is_Number:
            return _constant(-item.number)
        number = None if item.number is None else -item.number
        return _Item(None, number, chain="mul", parts=[sp.S.NegativeOne, expr])  # -a*b is one product

    def joined(self, token: Token, left: _Item, right: _Item) -> _Item:
        sign = token.text
        if sign in ("and", "or"):
            return self.conditions(token, left, right)
        b = self.expression(right, token)
        if sign in _COMPARISONS:
            return self.compared(token, left, right)
        number = self.arithmetic(token, left.number, right.number)
        if sign in ("**", "^"):
            a = self.expression(left, token)
            return _constant(number) if number is not None else _Item(_power(a, b, right.number))
        kind = "add" if sign in "+-" else "mul"
        if left.chain != kind:
            a = self.expression(left, token)
            if number is not None and a.is_Number and b.is_Number:
                return _constant(number)
            left = _Item(None, chain=kind, parts=[a])
        left.parts.append(_inverse(sign, b, right.number))
        left.number = number
        return left

    def conditions(self, token: Token, left: _Item, right: _Item) -> _Item:
        kind = token.text
        b = self.condition(right, token)
        if left.chain != kind:
            left = _Item(None, truth=left.truth, condition=True, chain=kind, parts=[self.condition(left, token)])
        left.parts.append(b)
        known = left.truth is not None and right.truth is not None
        left.truth = (left.truth and right.truth if kind == "and" else left.truth or right.truth) if known else None
        return left

    def compared(self, token: Token, left: _Item, right: _Item) -> _Item:
        relation, value = _COMPARISONS[token.text]
        a, b = self.expression(left, token), self.expression(right, token)
        if left.number is not None and right.number is not None:
            return _truth(value(left.number, right.number))
        return _condition(relation(a, b, evaluate=False))

    def arithmetic(self, token: Token, a: Number | None, b: Number | None) -> Number | None:
        if token.text == "/" and b == 0:
            self.fail(token, "division by zero")
        if a is None or b is None:
            return None
        try:
            return _checked(_ARITHMETIC[token.text](a, b))
        except (OverflowError, ZeroDivisionError):
            self.fail(token, "this constant is outside the range of a float")
        except ValueError:
            self.fail(token, "this power is not a real number; for a root of a negative number write cbrt(x)")

    def call(self, opened: _Pending, arguments: list[_Item]) -> None:
        name = opened.call
        function = _functions()[name]
        at = Token("name", name, opened.token.start - len(name))
        if not function.least <= len(arguments) <= (function.most or len(arguments)):
            self.fail(at, f"{name}() takes {_arity(function)}, not {len(arguments)}")
        if name == "where":
            self.operands.append(self.where(at, *arguments))
            return
        exprs = [self.expression(item, at) for item in arguments]
        numbers = [item.number for item in arguments if item.number is not None]
        if function.value is not None and len(numbers) == len(arguments):
            self.operands.append(_constant(self.value(at, function.value, numbers)))
        else:
            self.operands.append(_Item(_settled(function.build(*exprs))))

    def value(self, at: Token, function: Callable[..., float], numbers: Sequence[Number]) -> Number:
        shown = f"{at.text}({', '.join(str(n) for n in numbers)})"
        try:
            value = float(function(*(float(n) for n in numbers)))
        except OverflowError:
            value = math.inf
        except ValueError:
            value = math.nan
        if math.isnan(value):
            self.fail(at, f"{shown} is not a real number")
        if math.isinf(value):
            self.fail(at, f"the constant {shown} is outside the range of a float")
        exact = value.is_integer() and abs(value) <= EXACT and all(isinstance(n, Fraction) for n in numbers)
        return Fraction(int(value)) if exact else value

    def where(self, at: Token, test: _Item, yes: _Item, no: _Item) -> _Item:
        condition = self.condition(test, at)
        a, b = self.expression(yes, at), self.expression(no, at)
        if test.truth is not None:
            return yes if test.truth else no
        return _Item(_settled(sp.Piecewise((a, condition), (b, True), evaluate=False)))

    def expression(self, item: _Item, at: Token) -> Any:
        if item.condition:
            self.fail(at, "a condition stands where a number is needed; write where(condition, a, b)")
        return _finish(item)

    def condition(self, item: _Item, at: Token) -> Any:
        if not item.condition:
            self.fail(at, "a number stands where a condition is needed; write a comparison such as x > 0")
        return _finish(item)


def _finish(item: _Item) -> Any:
    """Close the chain of an item, so that what follows takes it as one operand."""
    if item.chain:
        if item.truth is not None:
            item.expr = sp.sympify(item.truth)
        else:
            item.expr = _settled(_CHAINS[item.chain](*item.parts, evaluate=False))
        item.chain, item.parts = "", []
    return item.expr


def _settled(expr: Any) -> Any:
    """Have SymPy cache what it would later look up by recursion, while everything below is cached already."""
    hash(expr)
    _ = getattr(expr, "is_commutative", None)
    return expr


def _constant(number: Number) -> _Item:
    if isinstance(number, Fraction):
        return _Item(sp.Rational(number.numerator, number.denominator), number)
    return _Item(sp.Float(number), number)


def _truth(value: bool) -> _Item:
    return _Item(sp.true if value else sp.false, truth=value, condition=True)


def _condition(expr: Any) -> _Item:
    return _Item(_settled(expr), condition=True)


def _inverse(sign: str, expr: Any, number: Number | None) -> Any:
    """What is added or multiplied for `- expr` and `/ expr`."""
    if sign == "-":
        if number is not None and expr.is_Number:
            return _constant(-number).expr
        return _settled(sp.Mul(sp.S.NegativeOne, expr, evaluate=False))
    return _settled(sp.Pow(expr, sp.S.NegativeOne, evaluate=False)) if sign == "/" else expr


def _power(base: Any, exponent: Any, number: Number | None) -> Any:
    if number is not None and exponent.is_Float and abs(float(number)) <= EXACT and float(2 * number).is_integer():
        exponent = sp.Rational(int(2 * number), 2)  # x**0.5 is a square root, x**2.0 a square
    return _settled(sp.Pow(base, exponent, evaluate=False))


def _checked(number: Number) -> Number:
    """Give up exactness where it would grow; raise OverflowError outside the range of a float."""
    if isinstance(number, Fraction):
        return number if max(abs(number.numerator), number.denominator) <= EXACT else float(number)
    if not math.isfinite(number):
        raise OverflowError
    return number


def _raised(a: Number, b: Number) -> Number:
    """Return a**b, exactly when it is small; ValueError when it is not real."""
    if isinstance(a, Fraction) and isinstance(b, Fraction) and b.denominator == 1 and abs(b) <= 53:
        if math.log2(max(abs(a.numerator), a.denominator)) * abs(b) <= 53:
            return a ** int(b)
    if a == 0 and b < 0:
        raise ZeroDivisionError
    value = math.pow(a, b)
    if value == 0.0 and a != 0:
        raise OverflowError
    return value


_ARITHMETIC: dict[str, Callable[[Any, Any], Number]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": _raised,
    "^": _raised,
}


def _meant(name: str, known: Mapping[str, Any], spelled: Callable[[str], str] = str) -> str:
    listed = f"; the names are {', '.join(known)}" if 0 < len(known) <= 20 else ""
    return meant(name, known, spelled) or listed


def _arity(function: _Function) -> str:
    least, most = function.least, function.most
    count = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
    return f"{count} argument{'s' if most != 1 else ''}"


def _unevaluated(function: Any) -> Callable[..., Any]:
    return lambda *args: function(*args, evaluate=False)


def _root(*args: Any) -> Any:
    return sp.Pow(*args, sp.S.Half, evaluate=False)


def _special(name: str) -> Callable[..., float]:
    """A function of scipy.special, which is imported when a constant first needs it."""

    def value(*args: float) -> float:
        from scipy import special

        return float(getattr(special, name)(*args).real)

    return value


def _sigmoid(x: float) -> float:
    e = math.exp(-abs(x))
    return 1 / (1 + e) if x >= 0 else e / (1 + e)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


_SAME = "exp log sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh floor erf erfc gamma"  # in math and SymPy
_EVALUATED: dict[str, tuple[Any, Callable[..., float]]] = {
    **{name: (getattr(sp, name), getattr(math, name)) for name in _SAME.split()},
    **{name: (getattr(cfunctions, name), getattr(math, name)) for name in ("log1p", "expm1", "log2", "log10")},
    "ln": (sp.log, math.log),
    "cbrt": (cfunctions.Cbrt, math.cbrt),
    "cot": (sp.cot, lambda x: 1 / math.tan(x) if x else math.inf),
    "sec": (sp.sec, lambda x: 1 / math.cos(x)),
    "csc": (sp.csc, lambda x: 1 / math.sin(x) if x else math.inf),
    "coth": (sp.coth, lambda x: 1 / math.tanh(x) if x else math.inf),
    **dict.fromkeys(("abs", "Abs"), (sp.Abs, abs)),
    "sign": (sp.sign, lambda x: math.copysign(1.0, x) if x else 0.0),
    **dict.fromkeys(("ceil", "ceiling"), (sp.ceiling, math.ceil)),
    "loggamma": (sp.loggamma, lambda x: math.lgamma(x) if x > 0 else math.nan),
    "digamma": (sp.digamma, _special("digamma")),
    "sinc": (sp.sinc, lambda x: math.sin(x) / x if x else 1.0),
    "LambertW": (sp.LambertW, lambda x: _special("lambertw")(x) if x >= -math.exp(-1) else math.nan),
    "exp2": (cfunctions.exp2, lambda x: math.pow(2.0, x)),
}
_TWO: dict[str, tuple[Any, Callable[..., float]]] = {
    "atan2": (sp.atan2, math.atan2),
    "beta": (sp.beta, _special("beta")),
    "hypot": (cfunctions.hypot, math.hypot),
    "mod": (sp.Mod, lambda a, b: a % b if b else math.nan),
}


@cache
def _functions() -> dict[str, _Function]:
    """Every function a formula may call, by name."""
    from gradcompile.frontend import functions

    table = {name: _Function(_unevaluated(function), value) for name, (function, value) in _EVALUATED.items()}
    table |= {name: _Function(_unevaluated(function), value, 2, 2) for name, (function, value) in _TWO.items()}
    for name, function, extreme in (("Max", sp.Max, max), ("Min", sp.Min, min)):
        value = partial(_of_all, extreme)
        table[name] = table[name.lower()] = _Function(_unevaluated(function), value, 1, None)
    table["sqrt"] = _Function(_root, math.sqrt)
    table["Heaviside"] = _Function(_unevaluated(sp.Heaviside), _heaviside, 1, 2)
    table["sigmoid"] = _Function(_unevaluated(functions.sigmoid), _sigmoid)
    table["softplus"] = _Function(_unevaluated(functions.softplus), _softplus)
    table["log_sigmoid"] = _Function(_unevaluated(functions.log_sigmoid), lambda x: -_softplus(-x))
    table["relu"] = _Function(_unevaluated(functions.relu), lambda x: max(x, 0.0))
    table["mean"] = _Function(_unevaluated(functions.mean), lambda x: x)
    table["total"] = _Function(_unevaluated(functions.total), None)
    table["where"] = _Function(sp.Piecewise, None, 3, 3)
    return table


def _heaviside(x: float, at_zero: float = 0.5) -> float:
    return at_zero if x == 0 else float(x > 0)


def _of_all(extreme: Callable[[Sequence[float]], float], *numbers: float) -> float:
    return extreme(numbers)
