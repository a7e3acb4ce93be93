"""A classifier in C: trained here, exported as source, compiled with a program that reads pictures and names digits.

The program needs neither Python nor NumPy. What it prints is compared with the prediction here.

Run it with: python examples/in_c.py (needs a C compiler, and scikit-learn: pip install "gradcompile[examples]")
"""

import subprocess
from pathlib import Path

import numpy as np

import gradcompile as gc

try:
    from sklearn.datasets import load_digits
except ModuleNotFoundError as error:
    raise SystemExit('this example needs data of scikit-learn: pip install "gradcompile[examples]"') from error

TRAINED = 1400
PROGRAM = """\
#include <stdio.h>
#include <stdlib.h>
#include "digits.h"

static double *numbers(const char *path, size_t count)
{
  double *found = malloc(count * sizeof *found);
  FILE *file = fopen(path, "rb");
  if (!file || !found || fread(found, sizeof *found, count, file) != count) exit(1);
  fclose(file);
  return found;
}

int main(int count, char **words)
{
  const int64_t pictures = count > 1 ? atoi(words[1]) : 0;
  double *theta = numbers("theta.bin", 650), *x = numbers("pictures.bin", (size_t)pictures * 64);
  double *scores = malloc((size_t)pictures * 10 * sizeof *scores);
  digits(theta, scores, x, pictures);
  for (int64_t k = 0; k < pictures; ++k) {
    int best = 0;
    for (int j = 1; j < 10; ++j) {
      best = scores[10 * k + j] > scores[10 * k + best] ? j : best;
    }
    printf("%d\\n", best);
  }
  free(theta), free(x), free(scores);
  return 0;
}
"""


def main() -> None:
    pictures, labels = load_digits(return_X_y=True)
    X, t = gc.array("X", ("n", 64)), gc.array("t", "n", dtype="int64")
    W, b = gc.array("W", (64, 10)), gc.array("b", 10)
    scores = X @ W + b
    loss = gc.compile_grad(np.mean(gc.cross_entropy(scores, t)) + 1e-3 * np.sum(W**2), [W, b], inputs=[X, t])
    start = [np.zeros((64, 10)), np.zeros(10)]
    params = gc.minimize(loss, start, [pictures[:TRAINED] / 16, labels[:TRAINED]]).x

    new = np.ascontiguousarray(pictures[TRAINED:] / 16)
    predict = gc.compile_value(scores, [W, b])
    predict.export("digits.c")
    predict.pack(*params).tofile("theta.bin")
    new.tofile("pictures.bin")
    Path("main.c").write_text(PROGRAM)
    subprocess.run(["cc", "-O2", "-ffp-contract=off", "-o", "digits", "main.c", "digits.c", "-lm"], check=True)
    printed = subprocess.run(["./digits", str(len(new))], capture_output=True, text=True, check=True).stdout

    found = np.array(printed.split(), int)
    print(f"{np.mean(found == labels[TRAINED:]):.1%} of {len(new)} new pictures are read right, by a program in C")
    print(f"the same as here: {np.array_equal(found, np.argmax(predict(*params, new), axis=1))}")


if __name__ == "__main__":
    main()
