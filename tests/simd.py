"""Run a function of gradcompile.vmath over arrays, in vector registers: its own text, through a small lowering to LLVM.

It knows nothing of the package's own lowering, takes the subset of Python that vmath is written in, no more, and
makes sweeps over millions of arguments cheap.
"""

import ast
import ctypes
import inspect
import textwrap
from functools import cache

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

UNARY = ("sqrt", "fabs", "floor", "ceil", "rint", "trunc")
LANES = {np.float64: 8, np.float32: 16}
I32 = ir.IntType(32)


class Lowering:
    """Vector code for functions of the subset; Python numbers stay Python's until they meet a vector."""

    def __init__(self, module, builder, dtype):
        """Code goes to the builder's block; float32 halves every width."""
        self.module, self.builder, self.lanes = module, builder, LANES[dtype]
        self.single = dtype is np.float32
        self.float = ir.VectorType(ir.FloatType() if self.single else ir.DoubleType(), self.lanes)
        self.int = ir.VectorType(ir.IntType(32 if self.single else 64), self.lanes)
        self.bool = ir.VectorType(ir.IntType(1), self.lanes)

    def function(self, function, args):
        """The value that the function returns for these vectors."""
        function = getattr(function, "py_func", function)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        names = dict(zip((a.arg for a in tree.args.args), args, strict=True))
        for statement in tree.body[1:-1]:
            assert isinstance(statement, ast.Assign) and len(statement.targets) == 1, ast.unparse(statement)
            names[statement.targets[0].id] = self.expression(statement.value, names, function.__globals__)
        assert isinstance(tree.body[-1], ast.Return)
        return self.expression(tree.body[-1].value, names, function.__globals__)

    def expression(self, node, names, scope):
        """The value of an expression."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return names[node.id] if node.id in names else scope[node.id]
        if isinstance(node, ast.Subscript):
            return scope[node.value.id][node.slice.value]
        if isinstance(node, ast.Call):
            args = [self.expression(a, names, scope) for a in node.args]
            return self.call(scope[node.func.id], args)
        parts = [self.expression(n, names, scope) for n in ast.iter_child_nodes(node) if isinstance(n, ast.expr)]
        return self.combine(node, parts)

    def combine(self, node, parts):
        """An operation on values, on Python numbers by Python."""
        b = self.builder
        if not any(isinstance(p, ir.Value) for p in parts):
            return OPERATIONS[type(node.op)](*parts)
        if isinstance(node, ast.IfExp):
            condition, x, y = parts
            if isinstance(condition, bool):
                return x if condition else y
            x, y = self.same(x, y)
            return b.select(condition, x, y)
        if isinstance(node, ast.UnaryOp):
            (x,) = parts
            if isinstance(node.op, ast.Not):
                return b.not_(x)
            return b.fneg(x) if x.type == self.float else b.neg(x)
        x, y = self.same(*parts)
        if isinstance(node, ast.Compare):
            (op,) = node.ops
            symbol = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}[type(op)]
            if x.type != self.float:
                return b.icmp_signed(symbol, x, y)
            return (b.fcmp_unordered if symbol == "!=" else b.fcmp_ordered)(symbol, x, y)
        kind = type(node.op)
        if x.type == self.float:
            return {ast.Add: b.fadd, ast.Sub: b.fsub, ast.Mult: b.fmul, ast.Div: b.fdiv}[kind](x, y)
        assert kind is not ast.Div
        integers = {ast.Add: b.add, ast.Sub: b.sub, ast.Mult: b.mul, ast.LShift: b.shl, ast.RShift: b.ashr}
        return {**integers, ast.BitAnd: b.and_, ast.BitOr: b.or_, ast.BitXor: b.xor}[kind](x, y)

    def same(self, x, y):
        """Both as vectors of one type; a number takes the other's, and two numbers would have none."""
        assert isinstance(x, ir.Value) or isinstance(y, ir.Value), (x, y)
        if not isinstance(x, ir.Value):
            x = self.constant(x, y.type)
        if not isinstance(y, ir.Value):
            y = self.constant(y, x.type)
        assert x.type == y.type, (x.type, y.type)
        return x, y

    def constant(self, number, kind):
        """A number in every lane."""
        if kind == self.float:
            number = float(np.float32(number)) if self.single else float(number)
        else:
            assert isinstance(number, int)
            number &= (1 << kind.element.width) - 1
        return ir.Constant(kind, [ir.Constant(kind.element, number)] * self.lanes)

    def vector(self, x):
        """A float vector."""
        return x if isinstance(x, ir.Value) else self.constant(x, self.float)

    def call(self, callee, args):
        """A primitive by its name, anything else by its text."""
        name, b = callee.__name__, self.builder
        if not callee.__module__.endswith("runtime.primitives"):
            assert all(isinstance(a, ir.Value | bool) for a in args), (name, args)
            return self.function(callee, args)
        if name == "rarely":
            return self.rarely(*args)
        if name == "bits":
            return b.bitcast(args[0], self.int)
        if name in ("from_bits", "from_bits32"):
            assert self.single == (name == "from_bits32")
            return b.bitcast(args[0], self.float)
        if name in ("to_float", "to_float32"):
            assert self.single == (name == "to_float32")
            return b.sitofp(args[0], self.float)
        if name == "to_int":
            return b.fptosi(args[0], self.int)
        args = [self.vector(a) for a in args]
        if name in ("at_most", "at_least"):
            x, bound = args
            return b.select(b.fcmp_ordered(">" if name == "at_most" else "<", x, bound), bound, x)
        if name == "fmod":
            return b.frem(*args)
        assert name in (*UNARY, "fma", "copysign"), name
        return b.call(self.intrinsic(f"llvm.{name}.v{self.lanes}f{32 if self.single else 64}", len(args)), args)

    def intrinsic(self, name, count):
        """A function of LLVM's own, of so many vectors."""
        found = self.module.globals.get(name)
        return found or ir.Function(self.module, ir.FunctionType(self.float, [self.float] * count), name)

    def rarely(self, slow, condition, fast, *args):
        """A branch, taken if any lane needs it."""
        b = self.builder
        mask = b.bitcast(condition, ir.IntType(self.lanes))
        before = b.block
        with b.if_then(b.icmp_unsigned("!=", mask, ir.Constant(mask.type, 0)), likely=False):
            chosen = b.select(condition, self.function(slow, args), fast)
            inside = b.block
        phi = b.phi(self.float)
        phi.add_incoming(chosen, inside)
        phi.add_incoming(fast, before)
        return phi


OPERATIONS = {
    ast.Add: lambda x, y: x + y,
    ast.Sub: lambda x, y: x - y,
    ast.Mult: lambda x, y: x * y,
    ast.Div: lambda x, y: x / y,
    ast.USub: lambda x: -x,
    ast.LShift: lambda x, y: x << y,
    ast.RShift: lambda x, y: x >> y,
    ast.BitOr: lambda x, y: x | y,
}


def module_text(function, count, dtype):
    """LLVM's text of `void loop(n, out, x, ...)` over whole vectors."""
    module = ir.Module()
    lanes = LANES[dtype]
    scalar = ir.FloatType() if dtype is np.float32 else ir.DoubleType()
    i64 = ir.IntType(64)
    loop = ir.Function(module, ir.FunctionType(ir.VoidType(), [i64] + [scalar.as_pointer()] * (count + 1)), "loop")
    entry, body, end = (loop.append_basic_block(n) for n in ("entry", "body", "end"))
    builder = ir.IRBuilder(entry)
    builder.branch(body)
    builder.position_at_end(body)
    index = builder.phi(i64)
    index.add_incoming(ir.Constant(i64, 0), entry)
    lower = Lowering(module, builder, dtype)

    def place(pointer):
        return builder.bitcast(builder.gep(pointer, [index]), lower.float.as_pointer())

    args = [builder.load(place(p), align=4) for p in loop.args[2:]]
    value = lower.function(function, args)
    builder.store(lower.vector(value), place(loop.args[1]), align=4)
    following = builder.add(index, ir.Constant(i64, lanes))
    index.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, loop.args[0]), body, end)
    builder.position_at_end(end)
    builder.ret_void()
    return str(module)


def machine():
    """The host, with all its vector instructions; an engine owns the one it is given."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3
    )


@cache
def compiled(function, count, dtype):
    """(engine, address) of the loop."""
    module = llvm.parse_assembly(module_text(function, count, dtype))
    module.triple = llvm.get_default_triple()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    target = machine()
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    return engine, engine.get_function_address("loop")


def loop(function, count, dtype):
    """The machine code as a function of (n, out, x, ...), arrays padded to whole vectors."""
    _, address = compiled(function, count, dtype)
    return ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (count + 1))(address)


def run(function, *columns):
    """The function of every row of the columns, which are arrays of one dtype."""
    columns = [np.ascontiguousarray(c) for c in np.broadcast_arrays(*columns)]
    dtype, n = columns[0].dtype.type, columns[0].size
    padded = [np.concatenate([c.ravel(), np.zeros(LANES[dtype], dtype)]) for c in columns]
    out = np.empty_like(padded[0])
    if n:
        loop(function, len(columns), dtype)(n, out.ctypes.data, *[c.ctypes.data for c in padded])
    return out[:n].reshape(columns[0].shape)
