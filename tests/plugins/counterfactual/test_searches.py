"""Every search finds what there is to find, keeps every limit, and returns nothing that the model has not decided."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp, minimize
from sklearn.linear_model import LogisticRegression

from preimage import catalogue
from preimage.budget import Budget
from preimage.errors import AssemblyError, InputError
from preimage_counterfactual.decision import Decision
from preimage_counterfactual.optimizers.nearest import Bowl
from preimage_counterfactual.search import search
from preimage_counterfactual.space import TableSpace

METHODS = ("gradient", "linear", "blackbox", "evolution", "draw")


def optimizer(method, **options):
    return catalogue().build("optimizer", f"counterfactual-{method}", **options)


def check_kept(one, answers):
    """Raise unless all answers are decided otherwise and keep what the space says; return them and their queries."""
    found = answers.table()
    numpy = isinstance(found, np.ndarray)
    asked = one.queries[answers.run.numpy()] if numpy else one.queries.iloc[answers.run.numpy()].reset_index(drop=True)
    assert (one.model.predict(found) != one.model.predict(asked)).all()
    for name, column in zip(one.space.names, one.space.columns, strict=True):
        values, before = (found[:, name], asked[:, name]) if numpy else (found[name], asked[name])
        if column.change == "none":
            assert (values == before).all()
        if column.change == "increase":
            assert (values >= before).all()
        if column.kind in ("numeric", "integer"):
            assert (values >= np.minimum(before, column.lower)).all()
            assert (values <= np.maximum(before, column.upper)).all()
    if not numpy:
        assert (found.filter(like="region").sum(axis=1) == 1).all()
        assert found.dtypes.equals(asked.dtypes)
        unchanged = answers.rows[answers.valid] == answers.reach.reference[answers.run]
        for name, span in zip(one.space.names, one.space.spans, strict=True):
            same = unchanged[:, span].all(dim=1).numpy()
            pd.testing.assert_series_equal(found[name][same], asked[name][same], check_exact=True)
    return found, asked


@pytest.mark.parametrize("kind", ["logistic", "perceptron", "forest"])
@pytest.mark.parametrize("table", ["mixed", "wine", "breast_cancer"])
def test_every_query_is_answered_within_all_limits(task, fitted, table, kind):
    """Twenty queries of each table, each model and every search that fits it: all valid, nothing violated."""
    one = task(table, kind)
    queries = one.queries[:20]
    for method in METHODS:
        view = one.decision.view
        if (method == "gradient" and view.smooth is None) or (method == "linear" and not view.linear):
            continue
        answers = search(one.decision, fitted("joint", table, kind), optimizer(method), queries, seed=1)
        assert answers.found.all(), (method, answers.status)
        check_kept(one, answers)


@pytest.mark.parametrize("name", ["l1", "gower", "mad-l1", "l2", "mahalanobis"])
def test_searches_run_on_any_distance(task, fitted, name):
    """Whatever the distance, answers are found, and what searches for them by it comes nearer than what does not."""
    one = task("mixed", "logistic")
    distance, queries = fitted(name), one.queries[:15]
    drawn = search(one.decision, fitted("joint"), optimizer("draw"), queries)
    far = distance(drawn.rows[:, 0], drawn.reach.reference)
    for method in ("gradient", "blackbox", "evolution"):
        answers = search(one.decision, distance, optimizer(method), queries)
        assert answers.found.all()
        torch.testing.assert_close(answers.distances[:, 0], distance(answers.rows[:, 0], answers.reach.reference))
        assert answers.distances.mean() < far.mean()
        check_kept(one, answers)


@pytest.mark.parametrize(("n_near", "level"), [(5, 2.2), (40, 3.0)], ids=["a farther neighbour", "a clearer row"])
def test_other_rows_are_followed_where_the_nearest_leads_nowhere(n_near, level):
    """Rows that are as wanted by what the query may not change give it nothing, and its gradient is zero: no plane."""

    class Net(torch.nn.Module):
        def forward(self, rows):
            return 10 * torch.relu(rows[:, 0] - 0.5) + 10 * torch.relu(rows[:, 1] - 2) - 0.1

    useless = [[1.0, 0.1 + 0.001 * place] for place in range(n_near)] + [[1.0, -5.0 - place] for place in range(20)]
    rows = np.array([*useless, *[[0.0, level + 0.01 * place] for place in range(12)], [0.0, 0.0]])
    space = TableSpace(rows, kinds=dict.fromkeys(range(2), "numeric"), immutable=[0])
    distance = catalogue().build("distance", "l2")
    distance.fit(space.data, space=space)
    decision = Decision(Net(), space, outputs="logits")
    answers = search(decision, distance, optimizer("gradient"), rows[-1:])
    assert answers.found.all()
    assert 2.0 < answers.table()[0, 1] < 2.1


@pytest.fixture(scope="module")
def ten_digits():
    """Sixty pixels, most of them at a bound and some the same in nearly all rows; ten classes and a linear model."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = load_digits(return_X_y=True)
    rows = rows[:, np.ptp(rows, axis=0) > 0]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(rows[:900], labels[:900])
    space = TableSpace(rows[:900], kinds=dict.fromkeys(range(rows.shape[1]), "numeric"))
    queries = rows[900:930]
    wanted = (model.predict(queries) + 1 + np.arange(30) % 9) % 10
    return Decision(model, space), queries, wanted


def test_the_closed_form_is_nearest_among_ten_classes(ten_digits):
    """Every query is answered, as near as a constrained solver that is given all nine boundaries and the bounds."""
    decision, queries, wanted = ten_digits
    distance = catalogue().build("distance", "mahalanobis")
    distance.fit(decision.space.data, space=decision.space)
    answers = search(decision, distance, optimizer("linear"), queries, desired=wanted.tolist())
    assert answers.found.all()
    assert (answers.rows_asked[:, 0] <= 10).all()
    scores = decision.view.smooth
    origin = scores(torch.zeros(1, decision.space.width).double())
    slopes = (scores(torch.eye(decision.space.width).double()) - origin).numpy()
    form = distance.quadratic(answers.reach.reference)
    precision = form.precision.reshape(slopes.shape[0], -1).numpy()
    for query in range(2):
        reach, own = answers.reach, wanted[query]
        rows, start = reach.reference[query].numpy(), answers.rows[query, 0].numpy()
        normals = np.delete(slopes - slopes[:, [own]], own, axis=1).T
        offsets = np.delete((origin[0, own] - origin[0]).numpy(), own) - 1e-6
        solved = minimize(
            lambda x, rows=rows: (x - rows) @ precision @ (x - rows),
            rows,
            jac=lambda x, rows=rows: 2 * precision @ (x - rows),
            bounds=list(zip(reach.lower[query].tolist(), reach.upper[query].tolist(), strict=True)),
            constraints={
                "type": "ineq",
                "fun": lambda x, n=normals, t=offsets: t - n @ x,
                "jac": lambda x, n=normals: -n,
            },
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        assert solved.success
        assert (start - rows) @ precision @ (start - rows) == pytest.approx(solved.fun, rel=1e-4)


def farthest(decision, reach, query, wanted, most):
    """How far before the boundaries a linear model leaves the best row with at most so many columns changed: exact."""
    width = decision.space.width
    origin = decision.view.smooth(torch.zeros(1, width).double())
    slopes = (decision.view.smooth(torch.eye(width).double()) - origin).T
    start, low, high = (limit[query].numpy() for limit in (reach.reference, reach.lower, reach.upper))
    rivals = [label for label in range(len(slopes)) if label != wanted]
    before = (slopes[rivals] - slopes[wanted]).numpy()
    behind = -(before @ start + (origin[0, rivals] - origin[0, wanted]).numpy())
    # Steps, whether each is made, and the margin, which is to be least but need not be below -1.
    one, none, margin = np.eye(width), np.zeros((width, width)), np.ones((len(rivals), 1))
    rules = [
        LinearConstraint(np.hstack([before, np.zeros((len(rivals), width)), -margin]), ub=behind),
        LinearConstraint(np.hstack([one, -np.diag(high - start), none[:, :1]]), ub=0),
        LinearConstraint(np.hstack([one, -np.diag(low - start), none[:, :1]]), lb=0),
        LinearConstraint(np.hstack([none[0], np.ones(width), 0]), ub=most),
    ]
    bounds = Bounds([*(low - start), *none[0], -1], [*(high - start), *np.ones(width), np.inf])
    whole = [*none[0], *np.ones(width), 0]
    return milp([*none[0], *none[0], 1], constraints=rules, bounds=bounds, integrality=whole).fun


@pytest.mark.parametrize("name", ["l2", "joint"])
def test_few_columns_of_many_are_solved_for_in_few_rounds(ten_digits, monkeypatch, name):
    """What is unanswered no five columns can answer; the solver does not go on and on: 150 systems for each query."""
    solved = []
    solve = Bowl._solve
    monkeypatch.setattr(Bowl, "_solve", lambda self, *given: solved.append(len(self.centre)) or solve(self, *given))
    decision, queries, wanted = ten_digits
    distance = catalogue().build("distance", name)
    distance.fit(decision.space.data, labels=decision.known_scores.argmax(dim=1), space=decision.space)
    answers = search(decision, distance, optimizer("linear"), queries, desired=wanted.tolist(), max_changed=5)
    assert ((answers.rows[:, 0] != answers.reach.reference).sum(dim=1) <= 5).all()
    assert sum(solved) <= 150 * len(queries)
    lost = (~answers.found).nonzero().flatten().tolist()
    assert len(lost) < 5
    assert all(farthest(decision, answers.reach, query, wanted[query], 5) > 0 for query in lost)


@pytest.fixture(scope="module")
def free_line():
    """Correlated numbers without bounds, and a score that is linear in them."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    rows = rng.normal(size=(300, 4)) @ root
    weights = np.array([1.0, -0.5, 0.0, 0.3])
    space = TableSpace(rows, ranges=dict.fromkeys(range(4), (None, None)))
    decision = Decision(lambda table: 1 / (1 + np.exp(-(table @ weights - 0.4))), space)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.last = torch.nn.Linear(4, 1).double()
            with torch.no_grad():
                self.last.weight[:] = torch.from_numpy(weights)
                self.last.bias[:] = -0.4

        def forward(self, rows):
            return self.last(rows)

    return space, decision, Decision(Net().last, space), weights, rows


@pytest.mark.parametrize(
    ("method", "slack"), [("linear", 1e-4), ("gradient", 1e-3), ("blackbox", 0.35), ("evolution", 0.35)]
)
@pytest.mark.parametrize("name", ["l2", "mahalanobis", "joint"])
def test_every_search_approaches_the_closed_form(free_line, name, method, slack):
    """On a linear score the nearest answer is m + C w (t - wᵀm) / (wᵀ C w); searches are off by their slack at most."""
    space, opaque, clear, weights, rows = free_line
    distance = catalogue().build("distance", name)
    distance.fit(space.data, labels=None, space=space)
    queries = rows[:12]
    decision = clear if method in ("linear", "gradient") else opaque
    options = {"generations": 60, "population": 40} if method == "evolution" else {}
    answers = search(decision, distance, optimizer(method, **options), queries)
    assert answers.found.all()
    reference = answers.reach.reference
    form = distance.quadratic(reference)
    normal = torch.from_numpy(weights) * space.scale
    level = 0.4 - float((torch.from_numpy(weights) * space.offset).sum())
    best = form.nearest(normal, torch.full((12,), level).double())
    side = (form.centre @ normal - level).sign() != (reference @ normal - level).sign()
    best = torch.where(side[:, None], form.centre, best)
    ours, theirs = form(answers.rows[:, 0]), form(best)
    assert (ours >= theirs - 1e-6).all()
    assert float((ours - theirs).mean()) <= slack * float(theirs.mean())


def test_dependencies_are_recovered_under_the_joint_distance_alone():
    """The score looks at the first of two columns with correlation 0.9: the second follows by 0.9 of its move.

    Under L2 it stays.
    """
    rng = np.random.default_rng(0)
    first = rng.normal(size=20_000)
    rows = np.stack([first, 0.9 * first + np.sqrt(1 - 0.81) * rng.normal(size=20_000)], axis=1)
    space = TableSpace(rows, ranges={0: (None, None), 1: (None, None)})
    decision = Decision(lambda table: (table[:, 0] > 1.0).astype(float), space)
    queries = rows[rows[:, 0] < 0][:20]
    moves = {}
    for name, options in (("joint", {"face": "metric"}), ("l2", {})):
        distance = catalogue().build("distance", name, **options)
        distance.fit(space.data, labels=None, space=space)
        step = search(decision, distance, optimizer("evolution", generations=80, population=40), queries)
        moves[name] = (step.rows[:, 0] - step.reach.reference).mean(dim=0)
    smooth = Decision(torch.nn.Linear(2, 1).double(), space)
    with torch.no_grad():
        module = torch.nn.Linear(2, 1).double()
        module.weight[:] = torch.tensor([[1.0, 0.0]])
        module.bias[:] = -1.0
    smooth = Decision(module, space)
    for name, options, wanted in (("joint", {"face": "metric"}, 0.9), ("l2", {}, 0.0)):
        distance = catalogue().build("distance", name, **options)
        distance.fit(space.data, labels=None, space=space)
        exact = search(smooth, distance, optimizer("linear"), queries)
        step = exact.rows[:, 0] - exact.reach.reference
        assert (step[:, 1] / step[:, 0]).numpy() == pytest.approx(np.full(20, wanted), abs=0.05 * 0.9)
    assert float(moves["joint"][1] / moves["joint"][0]) == pytest.approx(0.9, abs=0.15)
    assert float(moves["l2"][1] / moves["l2"][0]) == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_seeds_and_company_decide_what_they_should(task, fitted, method):
    """The same seed gives the same answers, and a query in company the answer that it gets alone."""
    one = task("mixed", "logistic")
    queries, distance = one.queries[:6], fitted("joint")
    answers = [search(one.decision, distance, optimizer(method), queries, seed=3) for _ in range(2)]
    assert torch.equal(answers[0].rows, answers[1].rows)
    alone = search(one.decision, distance, optimizer(method), queries[2:3].reset_index(drop=True), seed=3)
    torch.testing.assert_close(alone.distances[0], answers[0].distances[2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("method", "name"), [("blackbox", "l2"), ("gradient", "joint"), ("draw", "joint")])
def test_several_answers_differ_and_begin_with_the_nearest(task, fitted, method, name):
    """Each of three is valid, they are ordered, and they lie apart; the first is the one that is found alone."""
    one = task("mixed", "perceptron")
    queries, distance = one.queries[:5], fitted(name, kind="perceptron")
    single = search(one.decision, distance, optimizer(method), queries)
    answers = search(one.decision, distance, optimizer(method), queries, count=3)
    assert answers.valid.sum(dim=1).min() >= 2
    check_kept(one, answers)
    steps = answers.distances.where(answers.valid, torch.inf).diff(dim=1)
    assert (steps[steps.isfinite()] >= 0).all()
    assert (answers.distances[:, 0] <= single.distances[:, 0] + 1e-6).all()
    for query in range(5):
        rows = answers.rows[query][answers.valid[query]]
        assert torch.pdist(rows).min() > 0.05


@pytest.mark.parametrize("method", ["gradient", "linear", "blackbox", "evolution"])
def test_few_columns_change_where_few_may(task, fitted, method):
    """With max_changed=2 no answer changes more, and a one-hot group is one column."""
    one = task("mixed", "logistic")
    answers = search(one.decision, fitted("l2"), optimizer(method), one.queries[:10], max_changed=2)
    assert answers.found.float().mean() > 0.5
    moved = (answers.rows != answers.reach.reference[:, None]).double()
    columns = torch.zeros(10, 1, len(one.space.units)).double().index_add_(2, one.space.column_of, moved)
    assert ((columns > 0).sum(dim=2) <= 2).all()


@pytest.mark.parametrize("method", ["gradient", "linear", "blackbox", "evolution"])
def test_columns_that_follow_come_along_without_being_counted(method):
    """Tax is half the income and no choice of anybody: two columns may change besides it, and do."""
    draw = np.random.default_rng(0).normal(size=(400, 3))
    table = pd.DataFrame(draw, columns=["income", "savings", "years"]).assign(tax=draw[:, 0] / 2)
    model = LogisticRegression().fit(table, table["income"] + 0.8 * table["savings"] + 0.6 * table["years"] > 1)
    space = TableSpace(table, follows={"tax": {"income": 0.5}})
    distance = catalogue().build("distance", "l2")
    distance.fit(space.data, space=space)
    queries = table[~model.predict(table)].head(20)
    answers = search(Decision(model, space), distance, optimizer(method), queries, max_changed=2)

    assert answers.found.all()
    moved = (answers.rows[:, 0] != answers.reach.reference)[:, ~space.follower].sum(dim=1)
    assert moved.max() == 2
    assert (answers.table()["tax"] * 2).to_numpy() == pytest.approx(answers.table()["income"].to_numpy(), abs=1e-5)


def test_few_columns_are_enough_wherever_their_bounds_allow_it(task, fitted):
    """On a linear score the five columns that reach farthest tell who can be answered; all those are, by every search.

    Rows far from the boundary need columns at their bounds, which neither near rows nor the cheapest columns show.
    """
    one = task("breast_cancer", "logistic")
    queries = one.queries[:60]
    reach = one.space.around(queries)
    scaler, final = one.model[0], one.model[-1]
    score = one.model.decision_function(queries)
    normal = torch.from_numpy(final.coef_[0] / scaler.scale_)[None] * one.space.scale
    falls = torch.maximum(normal * (reach.lower - reach.reference), normal * (reach.upper - reach.reference))
    rises = torch.maximum(-normal * (reach.lower - reach.reference), -normal * (reach.upper - reach.reference))
    gain = torch.where(torch.from_numpy(score)[:, None] > 0, rises, falls).topk(5, dim=1).values.sum(dim=1)
    able = gain > torch.from_numpy(score).abs() + 1e-4
    assert able.sum() > 50
    for method, name in (("linear", "joint"), ("gradient", "joint"), ("gradient", "l1"), ("blackbox", "l2")):
        distance = fitted(name, "breast_cancer")
        answers = search(one.decision, distance, optimizer(method), queries, max_changed=5)
        assert answers.found[able].all(), (method, name)
        assert ((answers.rows[:, 0] != answers.reach.reference).sum(dim=1) <= 5).all()
        check_kept(one, answers)


def test_few_columns_are_several_times_few(task, fitted):
    """Several answers are within the limit, too, where the column of a detour is one of the few."""
    one = task("breast_cancer", "logistic")
    answers = search(
        one.decision, fitted("joint", "breast_cancer"), optimizer("linear"), one.queries[:5], max_changed=6, count=3
    )
    assert answers.found.all()
    assert answers.valid.sum() >= 10
    assert ((answers.rows != answers.reach.reference[:, None]).sum(dim=2) <= 6).all()


def test_regressions_and_thresholds_are_searched_too(task):
    """A value is brought into its range, and a class to its probability."""
    from sklearn.linear_model import LinearRegression

    one = task("wine", "logistic")
    rows = one.space.decode(one.space.data)
    model = LinearRegression().fit(rows, rows[:, 0])
    decision = Decision(model, one.space, desired_range=(13.5, 14.0))
    distance = catalogue().build("distance", "mahalanobis")
    distance.fit(one.space.data, space=one.space)
    queries = one.queries[one.queries[:, 0] < 13][:8]
    for method in ("linear", "gradient", "blackbox"):
        answers = search(decision, distance, optimizer(method), queries)
        assert answers.found.all()
        assert ((model.predict(answers.table()) >= 13.5) & (model.predict(answers.table()) <= 14)).all()
    sure = Decision(one.model, one.space, threshold=0.9)
    answers = search(sure, distance, optimizer("gradient"), one.queries[:8], desired=1)
    chosen = one.model.predict_proba(answers.table())[:, 1]
    assert (chosen >= 0.9).all()


@pytest.fixture(scope="module")
def three_wines():
    """A linear model of three classes, its decision, and two distances: one for all rows, one class by class."""
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, labels)
    space = TableSpace(rows)
    decision = Decision(model, space)
    distances = {}
    for classes in ("pooled", "shared"):
        distances[classes] = catalogue().build("distance", "joint", classes=classes)
        distances[classes].fit(space.data, labels=decision.known_scores.argmax(dim=1), space=space)
    return rows[::6], decision, distances, model


@pytest.mark.parametrize(
    ("method", "classes"), [("linear", "pooled"), ("linear", "shared"), ("gradient", "pooled"), ("blackbox", "shared")]
)
def test_opposite_is_the_nearest_of_all_other_classes(three_wines, method, classes):
    """What each of the other classes has to offer is compared."""
    queries, decision, distances, model = three_wines
    answers = search(decision, distances[classes], optimizer(method), queries)
    each = torch.stack(
        [
            search(decision, distances[classes], optimizer(method), queries, desired=wanted).distances[:, 0]
            for wanted in (0, 1, 2)
        ]
    )
    now = torch.from_numpy(model.predict(queries))
    each[now, torch.arange(len(now))] = torch.inf

    assert (model.predict(answers.table()) != now.numpy()).all()
    torch.testing.assert_close(answers.distances[:, 0], each.amin(dim=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["linear", "gradient", "blackbox"])
def test_the_class_with_the_next_best_score_need_not_be_the_nearest(method):
    """A steep score that is far behind is reached sooner than a flat one that is nearly level."""
    module = torch.nn.Linear(2, 3).double()
    with torch.no_grad():
        module.weight[:] = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 10.0]])
        module.bias[:] = torch.tensor([0.0, -1.0, -5.0])
    rows = np.random.default_rng(0).normal(size=(200, 2))
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    space = TableSpace(rows)
    distance = catalogue().build("distance", "l2")
    distance.fit(space.data, space=space)
    answers = search(Decision(module, space), distance, optimizer(method), np.zeros((1, 2)))

    assert answers.rows[0, 0].numpy() == pytest.approx([0.0, 0.5], abs=0.1 if method == "blackbox" else 2e-3)


def test_several_answers_of_several_classes_begin_with_the_nearest(three_wines):
    """Detours are beside the searches for each class, not instead of them."""
    queries, decision, distances, _ = three_wines
    single = search(decision, distances["pooled"], optimizer("linear"), queries[:6])
    answers = search(decision, distances["pooled"], optimizer("linear"), queries[:6], count=2)

    torch.testing.assert_close(answers.distances[:, 0], single.distances[:, 0])
    assert answers.valid.all()


def test_where_there_is_no_answer_the_reason_is_told(task, fitted):
    """Already decided as wanted, nothing free, out of budget, cancelled, or out of reach with the nearest miss."""
    one, distance = task("mixed", "logistic"), fitted("l2")
    queries = one.queries[:12]
    now = one.model.predict(queries)
    answers = search(one.decision, distance, optimizer("blackbox"), queries, desired=1)
    assert [status == "already" for status in answers.status] == (now == 1).tolist()
    fixed = search(one.decision, distance, optimizer("blackbox"), queries, vary=["sex"])
    assert set(fixed.status) == {"fixed"}
    assert not fixed.valid.any()
    assert torch.equal(fixed.rows[:, 0], fixed.reach.reference)
    out = search(one.decision, distance, optimizer("evolution"), queries, budget=Budget(max_candidates=1), vary=["age"])
    assert set(out.status) == {"budget"}
    assert "nearest miss lacks" in out.reason(0)
    stopped = search(one.decision, distance, optimizer("blackbox"), queries, cancelled=lambda: True)
    assert set(stopped.status) == {"cancelled"}
    poor = search(one.decision, distance, optimizer("blackbox"), queries[now == 0], vary=["married"])
    none = [query for query, status in enumerate(poor.status) if status == "none"]
    assert none
    assert "No row within the bounds that was tried" in poor.reason(none[0])
    assert (poor.miss_margins[none] > 0).all()
    assert all(spent.candidates > 0 for spent in poor.spent)


def test_pieces_that_do_not_fit_get_a_sentence(task, fitted):
    """Gradients of a forest, a closed form for L1 or a perceptron, draws from a length, no answers at all."""
    forest, logistic = task("mixed", "forest"), task("mixed", "logistic")
    queries = logistic.queries[:2]
    with pytest.raises(AssemblyError, match="Gradient needs gradients, .* such as counterfactual-blackbox"):
        search(forest.decision, fitted("l2"), optimizer("gradient"), queries)
    with pytest.raises(AssemblyError, match="L0 has none: use a search that needs none"):
        search(logistic.decision, fitted("l0"), optimizer("gradient"), queries)
    with pytest.raises(AssemblyError, match="distances that are quadratic forms, and L1 is none"):
        search(logistic.decision, fitted("l1"), optimizer("linear"), queries)
    with pytest.raises(AssemblyError, match="Joint with these options is none: use .* joint with Gaussian margins"):
        search(logistic.decision, fitted("joint", margins="copula"), optimizer("linear"), "no table that can be read")
    with pytest.raises(AssemblyError, match="linear in the row"):
        search(task("mixed", "perceptron").decision, fitted("l2"), optimizer("linear"), queries)
    with pytest.raises(AssemblyError, match="draws from the law of its distance, and L2 has none"):
        search(logistic.decision, fitted("l2"), optimizer("draw"), queries)
    with pytest.raises(InputError, match="count=0 asks for no answer"):
        search(logistic.decision, fitted("l2"), optimizer("blackbox"), queries, count=0)
