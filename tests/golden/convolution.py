"""loss(kernel; images, labels) = mean((mean(relu(transpose(einsum('abcdef,gbdf->aceg', window(window(images, 3, axis=2), 3, axis=4), kernel), (0, 3, 1, 2))), axis=(1, 2, 3)) - labels)**2)

676 operations for the loss, 1319 with the gradient (2.0 times) a sample. Rewrites: none.
"""

from gradcompile.library.sums import carry, close_tree, group_size, levels
from gradcompile.library.primitives import empty, fold, lanes, view, zeros
from gradcompile.library.blas import connect_blas
from gradcompile.codegen.functions import jit

connect_blas()

LANES = 16  # entries that are computed side by side
BLOCK = 128  # samples whose arrays are at hand at a time
GROUP = 2048  # samples, at least, that are added up before their sums meet others


@jit
def samples(total, grad, start, stop, theta, images, labels):
    """Add the samples from start to stop, block by block."""
    n = images.shape[0]
    kernel_2 = view(theta, 0, (2, 1, 3, 3))
    d_kernel = view(grad, 0, (2, 1, 3, 3))
    work = empty(26880, theta)
    partial = zeros(LANES, theta)
    for first in range(start, stop, BLOCK):
        m = min(BLOCK, stop - first)
        images_b = images[first:first + m]
        labels_b = labels[first:first + m]
        images_part = view(work, 0, (1, 4, 3, 4, 3, m))
        for p in range(4):
            for l in range(3):
                for k in range(4):
                    for j in range(3):
                        for i in lanes(0, m):
                            # window(window(images, 3, axis=2), 3, axis=4)
                            images_part[0, p, l, k, j, i] = images_b[i, 0, l + p, j + k]

        images_part_kernel = view(work, 18432, (4, 4, 2, m))
        images_part_kernel[:, :, :, :] = 0.0
        for j in range(4):
            for l in range(4):
                for k in range(3):
                    # einsum('abcdef,gbdf->aceg', ..., kernel)
                    images_part_kernel[j, l, :, :] += kernel_2[:, 0, k] @ images_part[0, j, k, l]

        summed = view(work, 22528, (m,))
        summed[:] = 0.0
        for l in range(2):
            for k in range(4):
                for j in range(4):
                    for i in lanes(0, m):
                        images_part_kernel_i = images_part_kernel[k, j, l, i]
                        summed[i] += 0.0 if images_part_kernel_i <= 0.0 else images_part_kernel_i

        d_summed = view(work, 22656, (m,))
        inverse_n = 1.0 / n
        partial[:] = 0.0
        for i in lanes(0, m):
            residual_i = 0.03125 * summed[i] - labels_b[i]
            partial[i % LANES] += residual_i * residual_i
            d_summed[i] = 0.0625 * (inverse_n * residual_i)  # dL/dsummed
        total[0] += fold(partial)

        kept_d_summed = view(work, 22784, (2, 4, 4, m))
        for l in range(2):
            for k in range(4):
                for j in range(4):
                    for i in lanes(0, m):
                        kept_d_summed[l, k, j, i] = 0.0 if images_part_kernel[k, j, l, i] <= 0.0 else d_summed[i]

        for k in range(3):
            for j in range(4):
                for l in range(4):
                    d_kernel[:, 0, k, :] += kept_d_summed[:, j, l] @ images_part[0, j, k, l].T  # dL/dkernel


@jit
def sums(total, grad, start, stop, theta, images, labels):
    """Add the samples from start to stop, group by group; the sums of groups meet in a tree."""
    n = images.shape[0]
    group = group_size(n, GROUP)
    many = max(stop - start - 1, 0) // group      # groups before the last
    last = start + many * group
    total_tree = zeros((levels(many), 1), theta)
    grad_tree = zeros((levels(many), 18), theta)
    for first in range(start, last, group):
        samples(total, grad, first, first + group, theta, images, labels)
        carry(total, total_tree, (first - start) // group)
        carry(grad, grad_tree, (first - start) // group)
    samples(total, grad, last, stop, theta, images, labels)
    close_tree(total_tree, total, many)
    close_tree(grad_tree, grad, many)


@jit
def finish(grad, theta, total, images, labels):
    """Write the gradient to grad and return the loss."""
    n = images.shape[0]
    loss = total[0] / n
    return loss


@jit
def kernel(theta: "float64[18]", grad: "float64[18]", images: "float64[n, 1, 6, 6]", labels: "float64[n]"):
    """Write the gradient to grad and return the loss."""
    n = images.shape[0]
    grad[:] = 0.0
    total = zeros(1, theta)
    sums(total, grad, 0, n, theta, images, labels)
    return finish(grad, theta, total, images, labels)
