"""Discrete Fourier transforms for generated code, each of one sequence of complex numbers: real parts, imaginary parts.

Stockham's form of mixed radices: stage by stage from one array into another, so nothing is sorted and each stage runs
along arrays. A length with a large prime factor is a convolution of a length that is a power of two (Bluestein).
"""

import math

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import empty, lanes, to_float, zeros
from gradcompile.library.vmath.double import cos, sin

__all__ = ["dft_backward", "dft_forward"]

QUARTER = math.pi / 2
LARGEST_RADIX = 61  # a stage of a prime takes that many products an entry; longer ones are convolutions


@jit
def dft_forward(z, x):  # type: ignore[no-untyped-def]
    """z[k] is the sum over j of x[j]*exp(-2*pi*i*j*k/n); arrays of shape (2, n), real parts above imaginary ones.

    >>> import numpy as np
    >>> z = np.zeros((2, 4))
    >>> dft_forward(z, np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]]))
    >>> z.tolist()
    [[10.0, -2.0, -2.0, -2.0], [0.0, 2.0, 0.0, -2.0]]
    """
    transform(z, x, 0)


@jit
def dft_backward(z, x):  # type: ignore[no-untyped-def]
    """The same with exp(+2*pi*i*j*k/n), not divided by n: real and imaginary parts change places before and after."""
    transform(z, x, 1)


@jit
def transform(z, x, real):  # type: ignore[no-untyped-def]
    """The forward transform, of the numbers whose real parts stand in that row."""
    if largest_factor(x.shape[1]) > LARGEST_RADIX:
        convolve(z, x, real)
    else:
        by_factors(z, x, real)


@jit
def by_factors(z, x, real):  # type: ignore[no-untyped-def]
    """The forward transform by a stage for each factor of the length."""
    n = x.shape[1]
    work = empty((2, 2, n), x)
    table = empty((2, n), x)
    roots(table, n)
    copy(work[0], x, real)
    side = stages(work, table)
    copy(z, work[side], real)


@jit
def copy(y, x, first):  # type: ignore[no-untyped-def]
    """Two rows, the given one first."""
    for k in lanes(0, x.shape[1]):
        y[0, k] = x[first, k]
        y[1, k] = x[1 - first, k]


@jit
def largest_factor(n):  # type: ignore[no-untyped-def]
    """The largest prime factor; 1 of 0 and 1."""
    left = n
    found = 1
    p = 2
    while left > 1:
        p = p if p * p <= left else left
        if left % p == 0:
            found = p
            left = left // p
        else:
            p = p + 1
    return found


@jit
def roots(table, n):  # type: ignore[no-untyped-def]
    """exp(-2*pi*i*k/n) for each k, as products of few: a transform takes hardly longer than so many sines."""
    width = 1
    while width * width < n:
        width = 2 * width
    near = empty((2, width), table)
    far = zeros((2, n // width + 1), table)
    turns(near, 1, n)
    turns(far, width, n)
    for j in range(far.shape[1]):
        c = far[0, j]
        d = far[1, j]
        first = j * width
        for k in lanes(first, min(first + width, n)):
            e = near[0, k - first]
            f = near[1, k - first]
            table[0, k] = c * e - d * f
            table[1, k] = c * f + d * e


@jit
def turns(table, step, n):  # type: ignore[no-untyped-def]
    """exp(-2*pi*i*step*k/n) for each k, by an angle of at most an eighth of a turn from a whole quarter."""
    for j in lanes(0, table.shape[1] if n > 0 else 0):
        k = j * step
        quarter = (8 * k + n) // (2 * n)
        angle = QUARTER * (to_float(4 * k - quarter * n) / to_float(n))
        c = cos(angle)
        s = sin(angle)
        odd = quarter % 2 == 1
        below = (quarter % 4 == 1) | (quarter % 4 == 2)
        real = s if odd else c
        table[0, j] = -real if below else real
        imaginary = c if odd else s
        table[1, j] = imaginary if quarter % 4 >= 2 else -imaginary


@jit
def stages(work, table):  # type: ignore[no-untyped-def]
    """Transform the first of two arrays; gives which of the two has the result."""
    left = table.shape[1]
    done = 1
    side = 0
    while left > 1:
        p = radix(left)
        m = left // p
        if p == 4:
            stage_of_4(work[1 - side], work[side], table, m, done)
        elif p == 2:
            stage_of_2(work[1 - side], work[side], table, m, done)
        else:
            stage_of_odd(work[1 - side], work[side], table, p, m, done)
        left = m
        done = done * p
        side = 1 - side
    return side


@jit
def radix(n):  # type: ignore[no-untyped-def]
    """The factor that is worked off next."""
    p = 4 if n % 4 == 0 else (2 if n % 2 == 0 else 3)
    while n % p != 0:
        p = p + 2
    return p


@jit
def stage_of_2(y, x, table, m, s):  # type: ignore[no-untyped-def]
    """Sums and differences of two, for s transforms of 2*m numbers side by side."""
    if s < m:
        for q in range(s):
            for j in lanes(0, m):
                pair(y, x, table, m, s, j, q)
    else:
        for j in range(m):
            for q in lanes(0, s):
                pair(y, x, table, m, s, j, q)


@jit
def pair(y, x, table, m, s, j, q):  # type: ignore[no-untyped-def]
    """Two numbers from two."""
    a = q + s * j
    b = a + s * m
    to = a + s * j
    ar = x[0, a]
    ai = x[1, a]
    br = x[0, b]
    bi = x[1, b]
    y[0, to] = ar + br
    y[1, to] = ai + bi
    put_turned(y, to + s, ar - br, ai - bi, table, j * s)


@jit
def put_turned(y, to, real, imaginary, table, k):  # type: ignore[no-untyped-def]
    """y[to] = a number times the k-th root."""
    c = table[0, k]
    d = table[1, k]
    y[0, to] = real * c - imaginary * d
    y[1, to] = real * d + imaginary * c


@jit
def stage_of_4(y, x, table, m, s):  # type: ignore[no-untyped-def]
    """Sums and differences of four, for s transforms of 4*m numbers side by side."""
    if s < m:
        for q in range(s):
            for j in lanes(0, m):
                four(y, x, table, m, s, j, q)
    else:
        for j in range(m):
            for q in lanes(0, s):
                four(y, x, table, m, s, j, q)


@jit
def four(y, x, table, m, s, j, q):  # type: ignore[no-untyped-def]
    """Four numbers from four."""
    a = q + s * j
    b = a + s * m
    c = b + s * m
    d = c + s * m
    to = a + 3 * s * j
    sum_r = x[0, a] + x[0, c]
    sum_i = x[1, a] + x[1, c]
    difference_r = x[0, a] - x[0, c]
    difference_i = x[1, a] - x[1, c]
    other_r = x[0, b] + x[0, d]
    other_i = x[1, b] + x[1, d]
    turned_r = x[1, b] - x[1, d]
    turned_i = x[0, d] - x[0, b]
    y[0, to] = sum_r + other_r
    y[1, to] = sum_i + other_i
    put_turned(y, to + s, difference_r + turned_r, difference_i + turned_i, table, j * s)
    put_turned(y, to + 2 * s, sum_r - other_r, sum_i - other_i, table, 2 * j * s)
    put_turned(y, to + 3 * s, difference_r - turned_r, difference_i - turned_i, table, 3 * j * s)


@jit
def stage_of_odd(y, x, table, p, m, s):  # type: ignore[no-untyped-def]
    """p numbers from p, for s transforms of p*m numbers side by side: the sum itself, by pairs of roots."""
    n = p * m * s
    for j in range(m):
        for t in range(p):
            to = s * (p * j + t)
            for q in lanes(0, s):
                y[0, q + to] = x[0, q + s * j]
                y[1, q + to] = x[1, q + s * j]
            for r in range(1, p // 2 + 1):
                add_pair(y, to, x, s * (j + m * r), s * (j + m * (p - r)), table, (r * t % p) * (n // p), s)
            c = table[0, j * t * s]
            d = table[1, j * t * s]
            for q in lanes(0, s):
                real = y[0, q + to]
                imaginary = y[1, q + to]
                y[0, q + to] = real * c - imaginary * d
                y[1, q + to] = real * d + imaginary * c


@jit
def add_pair(y, to, x, a, b, table, k, count):  # type: ignore[no-untyped-def]
    """Add x[a]*w + x[b]*conj(w) to y[to], for so many in a row."""
    c = table[0, k]
    d = table[1, k]
    for q in lanes(0, count):
        y[0, q + to] += c * (x[0, q + a] + x[0, q + b]) - d * (x[1, q + a] - x[1, q + b])
        y[1, q + to] += c * (x[1, q + a] + x[1, q + b]) + d * (x[0, q + a] - x[0, q + b])


# ---- lengths with large prime factors


@jit
def convolve(z, x, real):  # type: ignore[no-untyped-def]
    """By j*k = (j**2 + k**2 - (k - j)**2)/2 the transform is a convolution, and that a product of transforms."""
    n = x.shape[1]
    size = 1
    while size < 2 * n - 1:
        size = 2 * size
    half_turns = empty((2, 2 * n), x)
    chirp = empty((2, n), x)
    table = empty((2, size), x)
    kernel = empty((2, 2, size), x)
    work = empty((2, 2, size), x)
    roots(half_turns, 2 * n)
    roots(table, size)
    for k in lanes(0, size):
        kernel[0, 0, k] = 0.0
        kernel[0, 1, k] = 0.0
        work[0, 0, k] = 0.0
        work[0, 1, k] = 0.0
    for k in range(n):
        place = k * k % (2 * n)
        chirp[0, k] = half_turns[0, place]
        chirp[1, k] = half_turns[1, place]
        kernel[0, 0, k] = chirp[0, k]
        kernel[0, 1, k] = -chirp[1, k]
        kernel[0, 0, (size - k) % size] = chirp[0, k]
        kernel[0, 1, (size - k) % size] = -chirp[1, k]
    for k in lanes(0, n):
        work[0, 0, k] = x[real, k] * chirp[0, k] - x[1 - real, k] * chirp[1, k]
        work[0, 1, k] = x[real, k] * chirp[1, k] + x[1 - real, k] * chirp[0, k]
    side = stages(kernel, table)
    other = stages(work, table)
    for k in lanes(0, size):  # the product, conjugate: its forward transform is the conjugate of the backward one
        a = work[other, 0, k]
        b = work[other, 1, k]
        c = kernel[side, 0, k]
        d = kernel[side, 1, k]
        work[0, 0, k] = (a * c - b * d) / to_float(size)
        work[0, 1, k] = -(a * d + b * c) / to_float(size)
    last = stages(work, table)
    for k in lanes(0, n):
        a = work[last, 0, k]
        b = -work[last, 1, k]
        z[real, k] = a * chirp[0, k] - b * chirp[1, k]
        z[1 - real, k] = a * chirp[1, k] + b * chirp[0, k]
