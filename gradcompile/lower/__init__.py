"""From a differentiated graph to the source of a module."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import ModuleType

import numpy as np

from gradcompile.ir.core import Node
from gradcompile.ir.graph import topological
from gradcompile.ir.types import WRITTEN, ArrayType
from gradcompile.loops.ir import Constant, Function, Loop, Module, words_in
from gradcompile.loops.kernel import Kernel, Plan
from gradcompile.lower.nests.expression import functions_of, literal
from gradcompile.lower.program import LoweredProgram, Naming, Numbering, per_sample, roles_of
from gradcompile.lower.straight import lower
from gradcompile.ops.reduction import is_amax
from gradcompile.ops.scan import is_scan
from gradcompile.ops.sparse import NAMES as SPARSE
from gradcompile.signature.names import Namer
from gradcompile.signature.program import Program, entries, size_of

RESERVED = ("theta", "grad", "out", "n", "m", "i", "first", "start", "stop", "sums", "total", "jit", "njit", "kernel",
            "finish", "samples", "max", "min", "range", "float64", "float32", "float", "LANES")  # fmt: skip
OF_ROWS, OF_ARRAYS = ("row", "tree", "values"), ("BLOCK", "GROUP", "group", "highest", "work", "work_whole")
MULTIPLYING = frozenset({"gradcompile.library.blas", "gradcompile.library.routines"})  # modules that call BLAS
HELPERS = {"gradcompile.library.sums": ("LEVELS", "SPAN", "carry", "close_span", "close_tree", "group_size", "largest",
                                      "levels"),
           "gradcompile.library.primitives": ("empty", "fold", "full", "integers", "lanes", "remainder", "to_float",
                                              "to_float32", "to_int", "view", "zeros"),
           "gradcompile.library.fourier": ("dft_backward", "dft_forward"),
           "gradcompile.library.sparse": SPARSE,
           "gradcompile.library.routines": ("adjugate", "argsort", "cholesky", "det", "detsign", "eigvals", "eigvecs",
                                            "logabsdet", "pinv", "solve_full", "solve_lower", "solve_upper",
                                            "svdvals", "svdvecs")}  # fmt: skip
MEANING = {"BLOCK": "samples whose arrays are at hand at a time",
           "COUNTED": "lengths that BLAS counts in 32 bits",
           "GROUP": "samples, at least, that are added up before their sums meet others"}  # fmt: skip
WIDTHS = ["float32", "float64"]
WIDE, NARROW = 256, 128  # bytes of the lanes of a loop: several vectors at a time hide each other's latency
FEW = 16  # derivatives up to which the sums of wide lanes stay in the first-level cache


def lowered(program: Program, header: str | None = None, custom: Mapping[str, str] = {}) -> Kernel:
    """The kernel that computes a program; custom maps the op names of users' functions to their texts.

    Without a header nobody reads it, and values have numbers for names.
    """
    nodes = with_bodies(program.order)
    called = {name for op in {n.op for n in nodes} for name in functions_of(op)}
    called |= {"maximum"} if any(map(is_amax, nodes)) else set()
    arrays = program.arrays
    dims: Collection[str] = ()
    lower_program = lower
    if arrays:
        from gradcompile.lower import kernel  # much that formulas have no use for

        dims, lower_program = kernel.dims_of(program), kernel.lower_arrays
    own = OF_ARRAYS if arrays else OF_ROWS
    filled = [o.name for o in program.outputs]
    is_sampled = any(per_sample(n) for n in program.order if n.op.is_leaf)
    reserved = {*RESERVED} - ({"m"} if not dims else set()) - ({"n"} if not dims and not is_sampled else set())
    fresh = Namer([*reserved, *filled, *own, *(h for found in HELPERS.values() for h in found), *called, *dims])
    names = fresh.all([a.name for a in program.inputs])
    program = replace(program, inputs=[replace(a, name=name) for a, name in zip(program.inputs, names, strict=True)])
    naming = Numbering(program, fresh) if header is None else Naming(program, fresh, roles=roles_of(program))
    made = lower_program(program, naming)
    used = words_in(s for f in made.functions for s in f.body)
    imports: dict[str, list[str]] = {"math": [], "numpy as np": []} if custom else {}
    if kinds := [kind for kind in WIDTHS if kind in used]:
        imports["numpy"] = kinds
    dtype = program.dtype
    for module in origins(called - set(custom), dtype):
        imports[module.__name__] = sorted(called & set(module.__all__))
    for origin, helpers in HELPERS.items():
        if found := [h for h in helpers if h in used]:
            imports[origin] = found
    multiplies = "@" in used
    if multiplies:
        imports["gradcompile.library.blas"] = ["connect_blas"]
    imports["gradcompile.codegen.functions"] = ["jit", "njit"] if custom else ["jit"]
    size = WIDE if derivatives(program) <= FEW else NARROW
    lanes = size // np.dtype(dtype).itemsize
    what = "samples" if not arrays and made.passes else "entries"
    of_lanes = Constant("LANES", str(lanes), f"{what} that are computed side by side")
    constants = [of_lanes] if "lanes" in used else []
    constants += [Constant(name, literal(values), MEANING.get(name, "")) for name, values in made.constants.items()]
    functions = [annotated(f, program) if f.name == "kernel" else f for f in made.functions]
    extra = ["@njit\n" + custom[c] for c in sorted(custom)]
    routines = not MULTIPLYING.isdisjoint(imports)
    plan = Plan(made.passes, made.block, made.group, routines, len(program.outputs), made.counted, lines_of(made))
    return Kernel(Module(header or "", imports, functions, constants, extra, multiplies), plan)


def lines_of(made: LoweredProgram) -> int | None:
    """The statements of a kernel that has no loops."""
    (body,) = (f.body for f in made.functions if f.name == "kernel")
    return None if any(isinstance(s, Loop) for s in body) else len(body)


def derivatives(program: Program) -> float:
    """The entries that are summed beside a value that is returned."""
    sizes = [entries(p.node.type.shape) for o in program.outputs for p in o.parts if program.value is not None]
    return sum(d if type(d) is int else math.inf for d in sizes)


def annotated(kernel: Function, program: Program) -> Function:
    """The kernel with the types of its arguments, which those who call it from compiled code are held to.

    The second one is written to, and so are others that are marked.
    """
    theta = ArrayType((sum(size_of(a.leaf.type.shape) for a in program.params),), program.dtype)
    outs = [ArrayType((o.size if o.parts else "_",), theta.dtype) for o in program.outputs]
    kinds = [a.leaf.type for a in program.inputs]
    kinds = [t._replace(dtype="int64") if t.dtype == "bool" else t for t in kinds]
    types = [str(t).removesuffix("[]") for t in (theta, *outs, *kinds)]
    types[2 : 1 + len(outs)] = [f"{WRITTEN} {t}" for t in types[2 : 1 + len(outs)]]
    return replace(kernel, kinds=tuple(types))


def with_bodies(order: Iterable[Node]) -> list[Node]:
    """Nodes, and those of the bodies of scans among them."""
    pending, found = list(order), list[Node]()
    while pending:
        n = pending.pop()
        found.append(n)
        if is_scan(n):
            pending += topological(n.params[0].roots)
    return found


def origins(called: set[str], dtype: str) -> list[ModuleType]:
    """The modules of the package that these functions come from; what loads SciPy or Numba only if it is needed."""
    if dtype == "float32":
        from gradcompile.vmath import single

        elementary: ModuleType = single
    else:
        from gradcompile import vmath

        elementary = vmath
    rest = called - set(elementary.__all__)
    modules = [elementary] if rest != called else []
    if rest:
        from gradcompile.library import special

        modules = [special, *modules] if rest & set(special.__all__) else modules
    if rest and not rest <= set(special.__all__):
        from gradcompile.library import joint

        modules = [joint, *modules]
    return modules
