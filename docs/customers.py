"""Writes customers.csv, the table of the user's guide:  python docs/customers.py.  The customers are made up."""

from pathlib import Path

import numpy as np
import pandas as pd

ROWS, LEFT, UNKNOWN_AGES = 1_200, 198, 31


def customers() -> pd.DataFrame:
    """1,200 customers of whom 198 left, most of them with late payments, few visits and the basic plan."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "customer": [f"c{number:05d}" for number in range(ROWS)],
            "age": rng.integers(18, 80, ROWS).astype(float),
            "plan": rng.choice(["basic", "plus", "premium"], ROWS, p=[0.5, 0.3, 0.2]),
            "city": rng.choice(["Bergen", "Oslo", "Stavanger", "Trondheim"], ROWS),
            "visits": rng.poisson(4, ROWS),
            "late_payments": rng.poisson(1, ROWS),
            "months": rng.integers(1, 72, ROWS),
        }
    )
    basic = table["plan"] == "basic"
    pull = 1.5 * table["late_payments"] * (0.3 + basic) - table["visits"] - 0.04 * table["months"] * (table["age"] > 40)
    pull += rng.logistic(0, 0.8, ROWS)
    table["churned"] = np.where(pull.rank(method="first") > ROWS - LEFT, "yes", "no")
    table.loc[rng.choice(ROWS, UNKNOWN_AGES, replace=False), "age"] = np.nan
    return table


if __name__ == "__main__":
    customers().to_csv(Path("customers.csv"), index=False)
