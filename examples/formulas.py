"""Which formula describes the data? Cross-validation in scikit-learn decides, on NIST's ultrasonic reference data.

Chwirut2 is the response of an ultrasonic sensor by the metal's distance. NIST's own model has three parameters; a
line, a power and an exponential have two or three as well. Each is an estimator, so scikit-learn compares them as it
does others.

Run it with: python examples/formulas.py
"""

import pandas as pd
from sklearn.model_selection import GridSearchCV, KFold

from gradcompile.data import nist
from gradcompile.interop.sklearn import FormulaRegressor

FORMULAS = {
    "line": "b1 + b2*distance",
    "power": "b1*distance**b2",
    "exponential": "b1*exp(-b2*distance) + b3",
    "NIST": "exp(-b1*distance)/(b2 + b3*distance)",
}


def main() -> None:
    table = nist("Chwirut2")
    frame = pd.DataFrame({"distance": table.x})
    folds = KFold(6, shuffle=True, random_state=0)
    model = FormulaRegressor(starts=4)
    search = GridSearchCV(model, {"formula": [*FORMULAS.values()]}, cv=folds, scoring="neg_root_mean_squared_error")
    search.fit(frame, table.y)
    print(f"{len(table.y)} observations, error of prediction in six folds:")
    for (name, formula), score in zip(FORMULAS.items(), search.cv_results_["mean_test_score"], strict=True):
        print(f"  {name:<12} {formula:<38} {-score:6.3f}")
    best = search.best_estimator_
    print(f"\nbest: {best.formula}")
    for name, certified in table.certified.items():
        print(f"  {name} = {best.params_[name]:.6f} +- {best.stderr_[name]:.6f}   certified {certified:.6f}")


if __name__ == "__main__":
    main()
