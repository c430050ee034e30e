"""What is wanted of a model is a margin; models are not changed, and rebuilt where gradients are needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPRegressor
from sklearn.svm import SVC

from preimage.errors import InputError
from preimage_counterfactual.decision import Decision, margin
from preimage_counterfactual.space import TableSpace


@pytest.fixture(scope="module")
def wine(task):
    return task("wine", "logistic")


def test_a_margin_is_not_above_zero_where_it_is_as_wanted():
    """Reached, or left for another class, beaten or above a threshold, in probabilities and in logits alike."""
    logits = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).double()
    probabilities = logits.softmax(dim=1)
    label = torch.arange(200) % 3
    for away in (False, True):
        leave = torch.full((200,), away)
        for threshold in (None, 0.4, 0.7):
            own = probabilities[torch.arange(200), label]
            reached = own >= threshold if threshold else probabilities.argmax(dim=1) == label
            others = probabilities.scatter(1, label[:, None], 0.0).amax(dim=1)
            left = others >= threshold if threshold else probabilities.argmax(dim=1) != label
            for scores, form in ((probabilities, "probabilities"), (logits, "logits")):
                found = margin(scores, label, leave, form, threshold) <= 0
                assert torch.equal(found, left if away else reached)


@pytest.mark.parametrize("kind", ["logistic", "perceptron"])
@pytest.mark.parametrize("table", ["mixed", "wine"])
def test_pipelines_are_rebuilt_with_gradients(task, table, kind):
    """Column transformers, encoders and scalers are followed; the rebuilt model is the model."""
    one = task(table, kind)
    view = one.decision.view
    assert view.smooth is not None
    assert view.linear == (kind == "logistic")
    rows = one.space.encode(one.queries)
    ours = view.smooth(rows).softmax(dim=1)
    np.testing.assert_allclose(ours.numpy(), one.model.predict_proba(one.queries), atol=1e-9)


@pytest.mark.parametrize("model", [RidgeClassifier(), LinearDiscriminantAnalysis()])
def test_linear_models_without_probabilities_are_rebuilt_too(wine, model):
    """Whatever has coefficients and decides by them."""
    model.fit(wine.space.decode(wine.space.data), wine.labels.numpy())
    decision = Decision(model, wine.space)
    assert decision.view.linear


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_columns_that_hardly_ever_differ_are_followed_too():
    """A number that is another in one row of many, or in none, has its weight in the rebuilt model."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(2000, 3)), np.zeros((2000, 6)), np.full((2000, 1), 2.0)], axis=1)
    rows[range(0, 600, 100), range(3, 9)] = 5.0
    model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, random_state=0).fit(rows, rows[:, :9].sum(axis=1))
    space = TableSpace(rows, kinds=dict.fromkeys(range(10), "numeric"))
    decision = Decision(model, space, desired_range=(1.0, None))
    elsewhere = rng.normal(size=(20, 10))
    ours = decision.view.smooth(space.encode(elsewhere))[:, 0]
    np.testing.assert_allclose(ours.numpy(), model.predict(elsewhere), atol=1e-6)


def test_what_cannot_be_followed_is_a_black_box(task, wine):
    """Forests and kernels have answers only; support vectors decide by their scores, not by their probabilities."""
    assert task("mixed", "forest").decision.view.smooth is None
    rows = wine.space.decode(wine.space.data)
    model = SVC().fit(rows, wine.labels.numpy())
    decision = Decision(model, wine.space)
    assert decision.view.smooth is None
    assert decision.view.form == "logits"
    assert (decision.known_scores.argmax(dim=1).numpy() == model.predict(rows)).all()


def moved(threshold):
    return FixedThresholdClassifier(LogisticRegression(), threshold=threshold, response_method="predict_proba")


def searched(**options):
    return GridSearchCV(SVC(random_state=0, **options), {"C": [1.0]}, cv=3)


@pytest.mark.filterwarnings("ignore:.*`probability`.*:FutureWarning")
@pytest.mark.parametrize(
    ("model", "kinds", "noise", "form"),
    [
        (searched(probability=True), 3, 0.5, "logits"),
        (searched(probability=True), 2, 0.0, "logits"),
        (moved(0.8), 2, 0.0, "logits"),
        (moved(0.5), 2, 0.5, "probabilities"),
        (OneVsRestClassifier(SVC(probability=True, random_state=0)), 3, 0.5, "logits"),
        (SGDClassifier(loss="modified_huber", random_state=0), 3, 0.5, "logits"),
        (SVC(decision_function_shape="ovo"), 3, 0.5, "logits"),
        (SVC(decision_function_shape="ovo"), 4, 0.5, "logits"),
        (RandomForestClassifier(20, random_state=0), 3, 0.5, "probabilities"),
    ],
)
def test_what_a_classifier_predicts_is_what_it_decides(model, kinds, noise, form):
    """Whatever its probabilities or scores say; rows between known ones, where answers lie, tell it, too."""
    rows, labels = load_iris(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = rows + noise * rng.normal(size=rows.shape)
    labels = np.where(rng.random(150) < 0.2, 3, labels) if kinds == 4 else np.minimum(labels, kinds - 1)
    model.fit(rows, labels)
    decision = Decision(model, TableSpace(rows))
    pairs = rows[rng.integers(150, size=(2, 2000))]
    between = pairs[0] + rng.random((2000, 1)) * (pairs[1] - pairs[0])

    assert (decision.view.scores(between).argmax(dim=1).numpy() == model.predict(between)).all()
    assert decision.view.form == form
    if form == "logits":
        with pytest.raises(InputError, match="threshold=0.7 is a probability, and the model does not decide by"):
            Decision(model, TableSpace(rows), threshold=0.7)


@pytest.mark.parametrize(
    ("model", "options"), [(RandomForestClassifier(5), {}), (LinearRegression(), {"desired_range": (0, 1)})]
)
def test_a_model_of_several_things_decides_none_of_them(wine, model, options):
    """Neither the first of its targets nor all of them can be meant."""
    rows = wine.space.decode(wine.space.data)
    model.fit(rows, np.stack([rows[:, 0] > 13, rows[:, 1] > 2], axis=1).astype(int))
    with pytest.raises(InputError, match="answers several things of each row"):
        Decision(model, wine.space, **options)


@pytest.mark.parametrize("inputs", ["raw", "encoded"])
def test_torch_modules_are_asked_and_followed(wine, inputs):
    """In the table's units or as rows are encoded; probabilities or logits are told apart."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(13, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    before = [parameter.clone() for parameter in net.parameters()]
    decision = Decision(net, wine.space, inputs=inputs)
    reach = wine.space.around(wine.queries)
    bound = decision.bind(reach, decision.wanted(reach))
    run = torch.arange(len(reach.reference))
    values, gradient = bound.loss_and_gradient(reach.reference, run)
    torch.testing.assert_close(values, bound.loss(reach.reference, run), atol=1e-4, rtol=1e-4)
    step = 1e-3 * torch.randn(*gradient.shape, generator=torch.Generator().manual_seed(1)).double()
    smooth = decision.bind(reach, decision.wanted(reach))
    change = smooth.loss_and_gradient(reach.reference + step, run)[0] - values
    assert float((change - (gradient * step).sum(dim=1)).abs().median()) < 1e-3
    assert all(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in net.parameters())
    assert Decision(torch.nn.Sequential(net, torch.nn.Softmax(dim=1)), wine.space).view.form == "probabilities"
    with pytest.raises(InputError, match=r"training mode, .* call model.eval\(\)"):
        Decision(torch.nn.Sequential(net, torch.nn.Dropout()), wine.space)


@pytest.mark.parametrize("desired", ["opposite", 1])
def test_affine_scores_have_the_gradient_that_differentiation_finds(task, desired):
    """Of three classes, one to be left or one to be reached, at rows that are decided in every way."""
    decision = task("wine", "logistic").decision
    assert decision.view.linear
    reach = decision.space.around(decision.space.table)
    bound = decision.bind(reach, decision.wanted(reach, desired))
    run = torch.arange(len(reach.reference))
    rows = reach.reference.flip(0).clone().requires_grad_()
    margins = decision.margins(decision.view.smooth(rows), bound.wanted.label, bound.wanted.away, "logits")
    (expected,) = torch.autograd.grad(margins.sum(), rows)

    values, gradient = bound.loss_and_gradient(rows.detach(), run)
    torch.testing.assert_close(values, margins.detach())
    torch.testing.assert_close(gradient, expected)


def test_functions_of_the_table_are_models(task):
    """One column of probabilities stands for both classes; a margin of one's own decides alone."""
    one = task("mixed", "forest")
    decision = Decision(lambda table: one.model.predict_proba(table)[:, 1], one.space, classes=["refused", "granted"])
    assert decision.classes == ("refused", "granted")
    torch.testing.assert_close(decision.known_scores, one.decision.known_scores)
    custom = Decision(None, one.space, margin=lambda table: 30 - table["income"])
    reach = one.space.around(one.queries)
    wanted = custom.wanted(reach)
    assert ((wanted.margin <= 0).numpy() == (one.queries.income > 30 + 1e-6)).all()


@pytest.mark.parametrize(
    "model", [LinearRegression(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=30, random_state=0)]
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_regressions_have_a_desired_range(wine, model):
    """Inside the range the margin is below zero, outside it is how far away the value is."""
    rows = wine.space.decode(wine.space.data)
    model.fit(rows, rows[:, 0] * 2 + rows[:, 1])
    decision = Decision(model, wine.space, desired_range=(27, None))
    assert decision.view.smooth is not None
    reach = wine.space.around(wine.queries)
    np.testing.assert_allclose(decision.wanted(reach).margin.numpy(), 27 - model.predict(wine.queries), atol=1e-6)
    with pytest.raises(InputError, match="answers numbers, not classes: say which are wanted"):
        Decision(model, wine.space)


def test_opposite_is_any_other_class(wine):
    """Of two classes the other one; of several, whichever is not decided now."""
    reach = wine.space.around(wine.queries)
    wanted = wine.decision.wanted(reach)
    assert wanted.away.all()
    assert (wanted.margin > 0).all()
    assert (wanted.target != wanted.present).all()
    named = wine.decision.wanted(reach, [0] * len(wine.queries))
    assert ((named.margin <= 0) == (named.present == 0)).all()


def test_margins_of_known_rows_are_those_of_the_queries(task):
    """Column by column what one would compute for each query alone."""
    one = task("mixed", "logistic")
    reach = one.space.around(one.queries)
    wanted = one.decision.wanted(reach)
    table = one.decision.known_margins(wanted)
    label = wanted.label[3].expand(len(one.space.data))
    alone = one.decision.margins(one.decision.known_scores, label, torch.zeros(len(label), dtype=torch.bool))
    torch.testing.assert_close(table[:, 3], alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": 3}, "int is no model that can be asked"),
        ({"model": lambda table: ["granted"] * len(table)}, "no array of numbers .*: give an estimator instead"),
        ({"threshold": 1.5}, "threshold=1.5 is no probability"),
        ({"desired_range": (0, 1)}, "desired_range is for regressions"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(task, options, message):
    """Each mistake is named with its values and a way out."""
    one = task("mixed", "logistic")
    with pytest.raises(InputError, match=message):
        Decision(options.pop("model", one.model), one.space, **options)


def test_classes_that_there_are_not_get_a_sentence(task):
    """An unknown class, and a model that knows one class only."""
    one = task("mixed", "logistic")
    reach = one.space.around(one.queries)
    with pytest.raises(InputError, match=r"knows no class 'granted'; it decides between \[0, 1\]"):
        one.decision.wanted(reach, "granted")
    constant = type("Constant", (), {"predict": None, "fit": None, "classes_": np.array([1]), "predict_proba": None})
    with pytest.raises(InputError, match="one class only"):
        Decision(constant(), TableSpace(np.random.default_rng(0).normal(size=(5, 2))))
