"""Loss per iteration: by stages where there are stages, and a sentence when there were too many."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlops_pipelines.train.curves import loss_curves, too_many_stages


def sides(noise: float) -> tuple[tuple[pd.DataFrame, np.ndarray], tuple[pd.DataFrame, np.ndarray]]:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(rng.normal(size=(400, 4)), columns=list("abcd"))
    truth = (rows["a"] + rng.normal(scale=noise, size=400) > 0).to_numpy()
    return (rows[:300], truth[:300]), (rows[300:], truth[300:])


def test_the_last_stage_is_the_model() -> None:
    train, holdout = sides(noise=0.5)
    model = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=12))
    model.fit(*train)
    curves = loss_curves(model, train, holdout)
    assert {name: len(values) for name, values in curves.items()} == {
        "train_loss": 12,
        "holdout_loss": 12,
    }
    assert curves["train_loss"][-1] == pytest.approx(
        log_loss(train[1], model.predict_proba(train[0]))
    )
    held = log_loss(holdout[1], model.predict_proba(holdout[0]))
    assert curves["holdout_loss"][-1] == pytest.approx(held)


def test_a_regressor_is_judged_by_its_squared_error() -> None:
    (rows, _), (held, _) = sides(noise=0.1)
    model = GradientBoostingRegressor(n_estimators=7, random_state=0).fit(rows, rows["a"])
    curves = loss_curves(model, (rows, rows["a"].to_numpy()), (held, held["a"].to_numpy()))
    expected = mean_squared_error(held["a"], model.predict(held))
    assert curves["holdout_loss"][-1] == pytest.approx(expected)


def test_too_many_stages_on_noise_are_said_and_few_are_not() -> None:
    train, holdout = sides(noise=3.0)
    many = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.3).fit(*train)
    few = HistGradientBoostingClassifier(max_iter=3, learning_rate=0.1).fit(*train)
    assert "fewer would do better" in too_many_stages(loss_curves(many, train, holdout))
    assert too_many_stages(loss_curves(few, train, holdout)) == ""


def test_what_an_estimator_kept_and_what_has_no_iterations() -> None:
    train, holdout = sides(noise=0.5)
    network = MLPClassifier((4,), max_iter=300, random_state=0, tol=1e-2).fit(*train)
    assert loss_curves(network, train, holdout)["train_loss"] == network.loss_curve_
    assert loss_curves(LogisticRegression().fit(*train), train, holdout) == {}
