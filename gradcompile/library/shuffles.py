"""A permutation of any number of samples whose entries are computed, in the subset: a Feistel network that walks.

Luby and Rackoff, "How to construct pseudorandom permutations from pseudorandom functions" (1988); what falls outside of
the samples is sent through again, until it falls inside (Black and Rogaway 2002), less than once more on average.
"""

from gradcompile.codegen.functions import jit

PAIRS = 3  # of rounds: of the left half by the right, and of the right by the left


@jit
def mixed(x, key):  # type: ignore[no-untyped-def]
    """31 bits of a number of up to 31 bits and a key: products, of which the middle bits go on."""
    a = ((x ^ key) * 0x9E3779B1) & 0x7FFFFFFFFFFFFFFF
    b = ((a >> 16) ^ a) & 0x7FFFFFFF
    c = (b * 0x85EBCA6B) & 0x7FFFFFFFFFFFFFFF
    return ((c >> 15) ^ (c >> 31)) & 0x7FFFFFFF


@jit
def fill(out, keys, samples, first, left_bits, right_bits):  # type: ignore[no-untyped-def]
    """Where samples first, first + 1, ... are. A number of all bits is (left << right_bits) + right."""
    top = (1 << left_bits) - 1
    bottom = (1 << right_bits) - 1
    for i in range(out.shape[0]):
        place = first + i
        again = True
        while again:
            left = place >> right_bits
            right = place & bottom
            for j in range(PAIRS):
                left = left ^ (mixed(right, keys[2 * j]) & top)
                right = right ^ (mixed(left, keys[2 * j + 1]) & bottom)
            place = (left << right_bits) | right
            again = place >= samples
        out[i] = place
