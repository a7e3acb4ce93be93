"""The machine that is compiled for, and LLVM's own passes. Numba is neither asked nor loaded: that takes a while."""

import importlib
import os
import sys
from functools import lru_cache
from typing import Any

PREFIX = "gc_"
CONFIGURED = ".numba_config.yaml"  # in which Numba looks for its settings as well


def is_disabled() -> bool:
    """Whether nothing is compiled, as NUMBA_DISABLE_JIT=1 says: generated code runs as Python.

    >>> is_disabled() == bool(int(os.environ.get("NUMBA_DISABLE_JIT") or 0))
    True
    """
    if "numba" not in sys.modules and os.path.exists(CONFIGURED):
        importlib.import_module("numba")
    config = getattr(sys.modules.get("numba"), "config", None)
    if config is not None:
        return bool(config.DISABLE_JIT)
    try:
        return bool(int(os.environ.get("NUMBA_DISABLE_JIT", 0)))
    except ValueError:  # Numba takes no notice of it either
        return False


@lru_cache(maxsize=1)
def llvm() -> Any:
    """LLVM, ready to compile for this processor."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@lru_cache(maxsize=1)
def processor() -> tuple[str, str]:
    """Name and features of the processor, or of the one that Numba is told to compile for."""
    name = os.environ.get("NUMBA_CPU_NAME") or llvm().get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    return name, llvm().get_host_cpu_features().flatten() if features is None else features


def features() -> frozenset[str]:
    """What the processor has, as LLVM calls it: "+avx"."""
    return frozenset(processor()[1].split(","))


@lru_cache(maxsize=4)
def machine(level: int = 3) -> Any:
    """What generates code at a level of effort: 0 takes instructions as they come, 3 looks for better ones.

    Code that may lie anywhere, in one piece with its constants: addresses in it are distances.
    """
    name, known = processor()
    target = llvm().Target.from_triple(llvm().get_process_triple())
    return target.create_target_machine(cpu=name, features=known, opt=level, reloc="pic", codemodel="small")


def parsed(text: str) -> Any:
    """The module of LLVM IR that a text is, for this machine."""
    module = llvm().parse_assembly(text)
    module.triple, module.data_layout = llvm().get_process_triple(), data_layout()
    return module


@lru_cache(maxsize=1)
def data_layout() -> str:
    """How LLVM lays out data."""
    return str(machine().target_data)


def optimise(module: Any) -> None:
    """Inline what asks for it, then simplify each function.

    LLVM's passes over whole modules find nothing after these: what is to be vectors is so already, and what is to be
    inlined says so. Nor do the higher levels of its optimiser: values have names that are used again, so nothing is
    loaded or computed twice. A network's loss takes a tenth less to compile, `mlp` a tenth less to run.
    """
    builder = pass_builder(0)
    builder.getModulePassManager().run(module, builder)  # which inlines, no more
    builder = pass_builder(1)
    passes = builder.getFunctionPassManager()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)


def pass_builder(level: int) -> Any:
    """LLVM's passes of a level, for one module.

    Not to be kept for the next: what a run of llvmlite's registers with its builder points into the frame of that run.
    """
    chosen = llvm().create_pipeline_tuning_options(level)
    chosen.loop_vectorization, chosen.slp_vectorization = True, False
    return llvm().create_pass_builder(machine(), chosen)
