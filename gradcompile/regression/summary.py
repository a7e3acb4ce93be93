"""A fit as text, as HTML, and as a record for JSON."""

import html as escaping
import math
from collections.abc import Sequence
from typing import Any

from gradcompile.regression.estimates import Estimates


def shown(value: float, error: float = math.nan) -> str:
    """A number to the digits that its error leaves: two of the error's, six where there is none.

    >>> shown(1234.56789, 0.0123), shown(2.5, 0.013), shown(1/3), shown(math.nan)
    ('1234.568', '2.500', '0.333333', '-')
    """
    if math.isnan(value):
        return "-"
    if not (error > 0.0 and math.isfinite(error)) or value == 0.0:
        return f"{value:.6g}"
    last = math.floor(math.log10(error)) - 1  # the decimal place of the error's second digit
    rounded = abs(float(f"{value:.{min(16, max(0, -last))}f}")) if last < 0 else abs(value)
    digits = max(2, min(17, math.floor(math.log10(rounded or abs(value))) - last + 1))
    return f"{value:#.{digits}g}".removesuffix(".")


def rows(fit: Estimates) -> list[tuple[str, str, str, str]]:
    """Name, estimate, standard error and a remark for each parameter."""
    lost = {name for direction in fit.undetermined for name in direction} if fit.converged else set()
    found = []
    for name, value in fit.params.items():
        error = fit.stderr[name]
        remark = "at a bound" if name in fit.held else "at a corner of the loss" if name == fit.corner else ""
        remark = remark or ("not determined" if name in lost else "")
        found.append((name, shown(value, error), shown(error), remark))
    return found


def statistics(fit: Estimates) -> list[tuple[str, str]]:
    """What is left of the data, line by line."""
    left = f"{fit.rows}" + (f" ({fit.dropped} left out)" if fit.dropped else "")
    found = [("rows", left), ("degrees of freedom", str(fit.dof))]
    if fit._is_likelihood:
        found.append(("log-likelihood", f"{-fit.loss:.10g}"))
    else:
        found += [("chi2", f"{fit.chi2:.10g}"), ("reduced chi2", f"{fit.reduced_chi2:.6g}")]
        found.append(("R squared", f"{fit.r_squared:.10g}"))
    return [*found, ("AIC", f"{fit.aic:.6g}"), ("BIC", f"{fit.bic:.6g}"), ("evaluations", str(fit.evaluations))]


def titles(fit: Estimates) -> list[str]:
    """What was fitted: target = model, for each data set."""
    found = []
    for sample in fit.samples:
        s = sample.statement
        found.append(f"log-likelihood {s.title}" if s.target is None else f"{s.target} = {s.title}")
    return found


def directions(fit: Estimates) -> list[str]:
    """The directions that the data do not determine at a minimum, in words; elsewhere the message says more."""
    found: list[str] = []
    for direction in fit.undetermined if fit.converged else ():
        parts = [f"{'-' if w < 0 else '+'} {abs(w):.4g}*{n}" for n, w in direction.items()]
        text = " ".join(parts).removeprefix("+ ")
        found.append(f"the data do not determine {text if len(parts) > 1 else next(iter(direction))}")
    return found


def padded(table: Sequence[Sequence[str]], gap: str) -> list[str]:
    """A table as lines: names to the left, numbers to the right, and remarks behind.

    >>> padded([("a", "estimate", ""), ("beta", "1.5", "at a bound")], " ")
    ['a    estimate', 'beta      1.5 at a bound']
    """
    first, *middle, _ = (max(map(len, column)) for column in zip(*table, strict=True))
    lines = []
    for name, *cells, remark in table:
        numbers = [cell.rjust(width) for cell, width in zip(cells, middle, strict=True)]
        lines.append(gap.join([name.ljust(first), *numbers, remark]).rstrip())
    return lines


def text(fit: Estimates) -> str:
    """A table of estimates and errors, what is left of the data, and what is to be known of it."""
    lines = [*titles(fit), "", *padded([("parameter", "estimate", "standard error", ""), *rows(fit)], "  "), ""]
    left = statistics(fit)
    wide = max(len(name) for name, _ in left)
    lines += [f"{name.ljust(wide)}  {value}" for name, value in left]
    notes = [] if fit.converged else [f"not converged: {fit.message}"]
    return "\n".join([*lines, *(["", *notes, *directions(fit)] if notes or fit.undetermined else [])])


def html(fit: Estimates) -> str:
    """The same as HTML, for notebooks."""
    esc = escaping.escape
    head = "<br>".join(f"<code>{esc(t)}</code>" for t in titles(fit))
    body = "".join(f"<tr><td>{esc(n)}</td><td>{v}</td><td>{e}</td><td>{r}</td></tr>" for n, v, e, r in rows(fit))
    left = "".join(f"<tr><td>{esc(n)}</td><td>{esc(v)}</td></tr>" for n, v in statistics(fit))
    notes = [] if fit.converged else [f"not converged: {fit.message}"]
    told = "".join(f"<p>{esc(note)}</p>" for note in [*notes, *directions(fit)])
    columns = "<tr><th>parameter</th><th>estimate</th><th>standard error</th><td></td></tr>"
    return f"<div><p>{head}</p><table>{columns}{body}</table><table>{left}</table>{told}</div>"


def record(fit: Estimates) -> dict[str, Any]:
    """The fit as numbers, texts and lists; what is not a finite number is None."""
    errors, held = fit.stderr, fit.held
    params = {n: {"value": v, "stderr": number(errors[n]), "at_bound": n in held} for n, v in fit.params.items()}
    found: dict[str, Any] = {
        "params": params, "converged": fit.converged, "message": fit.message, "rows": fit.rows,
        "dropped": fit.dropped, "dof": fit.dof, "evaluations": fit.evaluations, "model": titles(fit),
        "undetermined": list(fit.undetermined), "cost": number(fit.cost), "aic": number(fit.aic),
        "aicc": number(fit.aicc), "bic": number(fit.bic),
        "cov": [[number(v) for v in row] for row in fit.cov.tolist()],
    }  # fmt: skip
    if not fit._is_likelihood:
        found["chi2"], found["reduced_chi2"] = number(fit.chi2), number(fit.reduced_chi2)
        found["r_squared"] = number(fit.r_squared)
    return found


def number(value: float) -> float | None:
    """A finite number, None for anything else."""
    return float(value) if math.isfinite(value) else None
