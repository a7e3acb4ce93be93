"""What a kernel demands of those who call it from compiled code, where nothing has checked its arguments before.

The text of a kernel says it: `def kernel(theta: "float64[2]", grad: "float64[2]", x: "float64[n]", k: "int64[n, 3]")`.
Types are looked at when a call is compiled; lengths, and whether the second argument, which is written to, shares
memory with another, in each call: a few comparisons. Of further ones that are written to the type says so, as in
`hess: "out float64[4]"`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.ir.types import WRITTEN, ArrayType, Dim, dims_told, names_in, parsed

READ = "read until the gradient is complete"
Contract = Mapping[str, "Argument"]  # by the names of the arguments, in their order


class Argument(NamedTuple):
    """What is demanded of an argument; whether the kernel writes to it."""

    type: ArrayType
    is_written: bool = False


def contract_of(function: Callable[..., Any]) -> Contract:
    """What the annotations of a function say; nothing of most functions.

    >>> def kernel(theta: "float64[2]", grad: "float64[2]", x: "float64[n]", y: "float64"):
    ...     pass
    >>> contract_of(kernel)["x"].type, contract_of(len)
    (ArrayType(shape=('n',), dtype='float64'), {})
    """
    found = {}
    for k, (name, text) in enumerate(getattr(function, "__annotations__", {}).items()):
        kind = text.removeprefix(WRITTEN + " ")
        dtype, _, dims = kind.removesuffix("]").partition("[")
        shape = tuple(int(d) if d.isdigit() else d for d in dims.replace(",", " ").split())
        found[name] = Argument(ArrayType(shape, dtype), k == 1 or kind != text)
    return found


def settled_types(contract: Contract, given: Sequence[Any]) -> tuple[Any, ...]:
    """The Numba types that arguments are taken as: numbers as the kernel's own, arrays as they are.

    Raises ArgumentTypeError for what the kernel can't take.
    """
    return tuple(settled_type(name, *a, given=t) for (name, a), t in zip(contract.items(), given, strict=True))


def settled_type(name: str, kind: ArrayType, is_written: bool, given: Any) -> Any:
    """The Numba type that one argument is taken as."""
    from numba import types

    dtype = getattr(types, kind.dtype)
    if not kind.shape:
        fits = (types.Integer, types.Boolean) if kind.dtype == "int64" else (types.Integer, types.Boolean, types.Float)
        if not isinstance(given, fits):
            raise ArgumentTypeError(f"the kernel takes {name} as {kind.dtype}, one number, got {given}; pass a number")
        return dtype
    what = f"the kernel takes {name} as {kind}, got {given}"
    if not isinstance(given, types.Array) or given.ndim != len(kind.shape):
        rank = len(kind.shape)
        raise ArgumentTypeError(f"{what}; pass an array of {rank} {'axes' if rank > 1 else 'axis'}")
    if given.dtype != dtype:
        raise ArgumentTypeError(f"{what}; pass {name}.astype('{kind.dtype}')")
    if is_written and not given.mutable:
        raise ArgumentTypeError(f"{what}, which is read-only, and {name} is written to; pass a new array")
    return given


def write_checks(context: Any, builder: Any, contract: Contract, given: Sequence[Any], values: Sequence[Any]) -> None:
    """Write the comparisons of a call; what does not hold raises ArgumentError there."""
    from numba.core import cgutils

    arrays = {
        name: (t, context.make_array(t)(context, builder, v))
        for (name, (kind, _)), t, v in zip(contract.items(), given, values, strict=True)
        if kind.shape
    }
    lengths = {name: cgutils.unpack_tuple(builder, a.shape) for name, (_, a) in arrays.items()}
    written = [name for name, a in contract.items() if a.is_written]
    meeting = (m for k in range(len(written)) for m in overlaps(builder, contract, arrays, lengths, written[: k + 1]))
    for name, is_wrong, message in (*disagreements(builder, contract, lengths), *meeting):
        with cgutils.if_unlikely(builder, is_wrong):
            context.call_conv.return_user_exc(builder, ArgumentError, (f"the kernel takes {name} {message}",))


def disagreements(
    builder: Any, contract: Contract, lengths: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[str, Any, str]]:
    """Of each length that has to be a certain one: whose it is, that it is not, and what is wrong then."""
    places = [(name, axis) for name, own in lengths.items() for axis in range(len(own))]
    dims = [contract[name].type.shape[axis] for name, axis in places]
    sizes: dict[str, Any] = {}
    tellers = dims_told(dims)
    for name, c, rest, at in tellers:
        own, axis = places[at]
        left = builder.sub(lengths[own][axis], length_in_call(builder, rest, sizes))
        sizes[name] = left if c == 1 else builder.sdiv(left, left.type(c))
    told = {at for _, c, rest, at in tellers if c == 1 and rest == 0}
    for at, ((name, axis), dim) in enumerate(zip(places, dims, strict=True)):
        if at not in told and names_in(dim) <= sizes.keys():
            is_wrong = builder.icmp_signed("!=", lengths[name][axis], length_in_call(builder, dim, sizes))
            whose = ", ".join(
                f"{d} is {places[k][0]}.shape[{places[k][1]}]" for d, _, _, k in tellers if d in names_in(dim)
            )
            yield (
                name,
                is_wrong,
                f"as {contract[name].type}, {f'where {whose}, ' if whose else ''}and axis {axis} has another length",
            )


def length_in_call(builder: Any, dim: Dim, sizes: Mapping[str, Any]) -> Any:
    """The length that a dimension has."""
    from llvmlite import ir

    total = ir.IntType(64)(0)
    for names, c in parsed(dim):
        product = ir.IntType(64)(c)
        for name in names:
            product = builder.mul(product, sizes[name])
        total = builder.add(total, product)
    return total


def overlaps(
    builder: Any,
    contract: Contract,
    arrays: Mapping[str, tuple[Any, Any]],
    lengths: Mapping[str, Sequence[Any]],
    outputs: Sequence[str],
) -> Iterator[tuple[str, Any, str]]:
    """Of the last output: that its entries meet, or are those of another array; outputs before it were compared."""
    written = outputs[-1]
    ranges = {name: ends_of(builder, *arrays[name], lengths[name]) for name in arrays}
    kind, array = arrays[written]
    if kind.layout not in "CF":
        from numba.core import cgutils

        (stride,), (length,) = cgutils.unpack_tuple(builder, array.strides), lengths[written]
        size = array.itemsize
        meets = builder.and_(
            builder.icmp_signed("<", stride, size), builder.icmp_signed(">", stride, builder.neg(size))
        )
        yield (
            written,
            builder.and_(meets, builder.icmp_signed(">", length, length.type(1))),
            "with entries of its own each",
        )
    low, high = ranges[written]
    uses = {name: "written to as well" if a.is_written else READ for name, a in contract.items()}
    for name, (first, last) in ranges.items():
        if name not in outputs:
            pairs = (low, last), (first, high), (low, high), (first, last)
            shares = reduce(builder.and_, [builder.icmp_unsigned("<", a, b) for a, b in pairs])
            yield (
                written,
                shares,
                f"apart from {name}: they share memory, and {name} is {uses[name]}",
            )


def ends_of(builder: Any, kind: Any, array: Any, lengths: Sequence[Any]) -> tuple[Any, Any]:
    """The first address of an array and the one behind its last; the same if it has no entries."""
    from numba.core import cgutils

    address = builder.ptrtoint(array.data, array.nitems.type)
    if kind.layout in "CF":
        return address, builder.add(address, builder.mul(array.nitems, array.itemsize))
    zero, low, high = address.type(0), address, builder.add(address, array.itemsize)
    for stride, length in zip(cgutils.unpack_tuple(builder, array.strides), lengths, strict=True):
        reach = builder.mul(stride, builder.sub(length, length.type(1)))
        forward = builder.icmp_signed(">", reach, zero)
        low = builder.add(low, builder.select(forward, zero, reach))
        high = builder.add(high, builder.select(forward, reach, zero))
    is_empty = builder.icmp_signed("==", array.nitems, zero)
    return low, builder.select(is_empty, low, high)
