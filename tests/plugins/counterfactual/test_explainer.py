"""The explainer, from a model and a table to answers that people can read."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from preimage.errors import InputError, UnknownNameError
from preimage_counterfactual import CounterfactualExplainer, Explanation
from preimage_counterfactual.rescue import completed

LIMITS = {"immutable": ["sex", "age"], "change": {"education": "increase"}}


@pytest.fixture(scope="module")
def explained(task, mixed_table):
    """An explainer of the mixed table's forest and what it says of eight rows."""
    one = task("mixed", "forest")
    explainer = CounterfactualExplainer(one.model, columns=LIMITS).fit(mixed_table()[0])
    return one.model, explainer, explainer.explain(one.queries.head(8), total_cfs=2)


def test_every_answer_is_decided_otherwise_by_the_model_itself(explained, task):
    """The table of answers, given to the model, is decided otherwise than the rows."""
    model, _, explanation = explained
    before = model.predict(task("mixed", "forest").queries.head(8))
    after = model.predict(explanation.table())
    assert explanation.found.all()
    assert (after != before[explanation.answers.run.numpy()]).all()


def test_a_frame_has_one_line_for_each_answer_in_the_tables_own_units(explained, mixed_table):
    """The tidy frame can be given to the model as it is."""
    model, _, explanation = explained
    frame = explanation.to_frame()
    assert (frame["status"] == "found").all()
    assert (model.predict(frame[list(mixed_table()[0].columns)]) == frame["decision"]).all()


def test_columns_of_the_table_keep_their_names_in_the_frame(mixed_table):
    """What the frame says of answers gives way, and is told apart."""
    table, _ = mixed_table(60)
    table = table[["age", "income", "job"]].set_axis(["answer", "distance", "status"], axis=1)
    explanation = CounterfactualExplainer(lambda rows: np.asarray(rows["distance"] > 30)).fit(table).explain(table[:4])
    frame = explanation.to_frame()

    said = ["row", "counterfactual_answer", "counterfactual_status", "reason", "counterfactual_distance", "decision"]
    assert list(frame.columns) == [*said, *table.columns]
    pd.testing.assert_frame_equal(frame[list(table.columns)], explanation.table(), check_dtype=False)
    assert frame["counterfactual_status"].tolist() == ["found"] * 4
    assert frame["counterfactual_distance"].tolist() == explanation.answers.distances[:, 0].tolist()


def test_changes_say_what_moved_and_nothing_else(explained, task):
    """Undoing the listed changes gives the row back."""
    _, _, explanation = explained
    queries = task("mixed", "forest").queries
    for place, one in enumerate(explanation):
        for answer in one.counterfactuals:
            restored = dict(answer.row) | {change.column: change.before for change in answer.changes}
            assert restored == {name: queries[name].iloc[place] for name in queries.columns}
            assert all(change.before != change.after for change in answer.changes)


def test_what_may_not_change_does_not(explained):
    """Immutable columns and directions hold for every answer."""
    moved = explained[2].changes()
    assert not set(moved["column"]) & {"sex", "age"}


def test_sentences_name_the_change_and_the_price_of_moving_alone(explained):
    """Income and savings go together in this table, so that moving one alone is dear."""
    explainer = explained[1]
    said = " ".join(" ".join(explained[2].sentences(place)) for place in range(8))
    assert "The model decides" in said
    assert "times what changing it together with its companions" in said
    place = explainer.space_.spans[explainer.space_.places["income"]].start
    assert f"Changing income alone costs {explainer.distance_.companion_factor(place):.2g} times" in said


def test_a_row_without_an_answer_is_a_result_with_the_reason_and_the_nearest_miss(task, mixed_table):
    """Being married alone changes no decision here."""
    one = task("mixed", "forest")
    explanation = (
        CounterfactualExplainer(one.model)
        .fit(mixed_table()[0])
        .explain(one.queries.head(3), features_to_vary=["married"])
    )
    row = explanation[0]
    assert row.status == "none"
    assert not row.counterfactuals
    assert explanation.sentences(0) == [row.reason]
    assert row.nearest_miss is not None
    assert row.nearest_miss["income"] == row.row["income"]
    frame = explanation.to_frame()
    assert len(frame) == 3
    assert frame["income"].isna().all()


def test_the_model_decides_which_method_is_the_fastest(task):
    """Linear models have a closed form, perceptrons gradients, forests neither."""
    chosen = {
        kind: CounterfactualExplainer(task("breast_cancer", kind).model)
        .fit(task("breast_cancer", kind).queries)
        .method_
        for kind in ("logistic", "perceptron", "forest")
    }
    assert chosen == {"logistic": "linear", "perceptron": "gradient", "forest": "blackbox"}


@pytest.mark.parametrize("classes", ["shared", "transport"])
def test_the_law_may_be_class_by_class(task, classes):
    """The choice of a method and the sentences know which class is wanted."""
    one = task("breast_cancer", "logistic")
    explainer = CounterfactualExplainer(one.model, distance_options={"classes": classes}).fit(one.queries)
    explanation = explainer.explain(one.queries[:2])

    assert explainer.method_ == "linear"
    assert explanation.found.all()
    assert "alone costs" in explanation.sentences(0)[-1]


def test_what_follows_is_not_said_to_change_alone(task, mixed_table):
    """Neither the follower nor what it follows; a single smaller change is one change."""
    one = task("mixed", "forest")
    columns = {"follows": {"savings": ["income"]}, "immutable": ["age"]}
    explanation = CounterfactualExplainer(one.model, columns=columns).fit(mixed_table()[0]).explain(one.queries.head(8))
    said = [explanation.sentences(place, most=1) for place in range(8)]

    assert {change.column for answer in explanation for change in answer.counterfactuals[0].changes} >= {"income"}
    assert not any(
        "Changing income alone" in line or "Changing savings alone" in line for lines in said for line in lines
    )
    assert not any("1 smaller changes" in line for lines in said for line in lines)


@pytest.mark.parametrize("given", [np.array, pd.Series, pl.Series, tuple], ids=["numpy", "pandas", "polars", "tuple"])
def test_desired_classes_may_be_whatever_holds_one_for_each_row(explained, task, given):
    """As a model predicts them, or as a column of a frame."""
    _, explainer, _ = explained
    queries = task("mixed", "forest").queries.head(4)
    wanted = [1, 0, 1, 0]
    frames = [explainer.explain(queries, desired_class=desired).to_frame() for desired in (given(wanted), wanted)]
    pd.testing.assert_frame_equal(*frames)
    assert explainer.explain(queries, desired_class=np.int64(1))[0].status in ("found", "already")


class FindsNothing:
    """A search that asks the model about nothing."""

    requires = frozenset()
    rowwise = True
    State = SimpleNamespace

    def start(self, space, rng, initial):
        return SimpleNamespace(done=True)


@pytest.mark.parametrize(
    "as_given", [lambda rows: pd.DataFrame(rows).add_prefix("c"), np.asarray], ids=["pandas", "numpy"]
)
def test_rows_that_the_fast_search_has_no_answer_to_are_searched_again(task, as_given):
    """Each with its own class and range; a method that was asked for by name stays alone."""
    one = task("breast_cancer", "logistic")
    table = as_given(one.queries)
    wanted = [1 - label for label in one.model.predict(one.queries[:4])]
    ranges = [{}, {}, {"c0" if hasattr(table, "columns") else 0: (None, 20)}, {}]
    for method, found in (("auto", True), ("linear", False)):
        explainer = CounterfactualExplainer(one.model, method=method).fit(table)
        explainer.optimizer_ = FindsNothing()
        explanation = explainer.explain(table[:4], desired_class=wanted, permitted_range=ranges)

        assert explanation.found.tolist() == [found] * 4
        assert explanation.method == ("linear, then blackbox" if found else "linear")
        assert [answer.decision for row in explanation for answer in row.counterfactuals] == (wanted if found else [])


def test_a_second_search_fills_the_places_of_the_first(task, mixed_table):
    """Answers that were found stay; what both have cost is added up."""
    one = task("mixed", "forest")
    explainer = CounterfactualExplainer(one.model).fit(mixed_table()[0])
    first = explainer.explain(one.queries.head(4)).answers
    second = explainer.explain(one.queries.iloc[[1, 3]], features_to_vary=["income", "savings"]).answers
    both = completed(first, second, [1, 3])

    assert both.rows[[0, 2]].equal(first.rows[[0, 2]])
    assert both.distances[[1, 3]].equal(second.distances)
    assert both.status == (first.status[0], second.status[0], first.status[2], second.status[1])
    assert both.spent[1].forward == first.spent[1].forward + second.spent[0].forward
    assert {spent.seconds for spent in both.spent} == {first.seconds + second.seconds} == {both.seconds}
    assert (both.miss_margins <= first.miss_margins).all()


def test_torch_modules_and_functions_are_models_too():
    """A module on raw rows, and a function of the table, by their probabilities."""
    rows = np.random.default_rng(0).normal(size=(200, 3))
    module = torch.nn.Sequential(torch.nn.Linear(3, 2)).double().eval()
    for model in (module, lambda table: np.stack([1 - _sigmoid(table), _sigmoid(table)], axis=1)):
        explanation = CounterfactualExplainer(model, distance="l2").fit(rows).explain(rows[:5])
        assert explanation.found.all()


def _sigmoid(table):
    return 1 / (1 + np.exp(-np.asarray(table) @ np.array([1.0, -2.0, 0.5])))


def test_a_clone_shares_the_model_and_knows_no_rows(explained, mixed_table):
    """scikit-learn's manners, without forgetting what the model has learned."""
    model, explainer, _ = explained
    copy = clone(explainer)
    assert copy.get_params(deep=False) == explainer.get_params(deep=False)
    assert copy.model is model
    with pytest.raises(NotFittedError, match="call fit"):
        copy.explain(mixed_table()[0].head(1))


def test_a_fitted_explainer_and_what_it_says_can_be_pickled(explained, task):
    """If the model can: what comes back answers alike."""
    _, explainer, explanation = explained
    again, said = pickle.loads(pickle.dumps((explainer, explanation)))
    queries = task("mixed", "forest").queries.head(8)
    pd.testing.assert_frame_equal(said.to_frame(), explanation.to_frame())
    pd.testing.assert_frame_equal(again.explain(queries, total_cfs=2).to_frame(), explanation.to_frame())


def test_the_same_state_gives_the_same_answers(explained, task):
    """Answers are repeatable to the last bit."""
    _, explainer, explanation = explained
    again = explainer.explain(task("mixed", "forest").queries.head(8), total_cfs=2)
    pd.testing.assert_frame_equal(again.to_frame(), explanation.to_frame())


def test_without_a_state_there_are_answers_all_the_same(task, mixed_table):
    """To each call its own."""
    one = task("mixed", "forest")
    explainer = CounterfactualExplainer(one.model, random_state=None).fit(mixed_table()[0])
    assert explainer.explain(one.queries.head(2), total_cfs=2).found.all()


def test_json_holds_everything_that_was_found(explained):
    """Each answer with its changes comes back from JSON."""
    explanation = explained[2]
    rows = json.loads(explanation.to_json())["rows"]
    assert [len(row["counterfactuals"]) for row in rows] == [len(one.counterfactuals) for one in explanation]
    first = explanation[0].counterfactuals[0]
    assert rows[0]["counterfactuals"][0]["distance"] == first.distance


def test_json_says_null_of_missing_cells(mixed_table):
    """Which every program reads, unlike NaN."""
    table, _ = mixed_table(60)
    table = table[["age", "income"]].astype({"age": float})
    table.loc[0, "age"] = np.nan
    explainer = CounterfactualExplainer(lambda rows: np.asarray(rows["income"] > 30), columns={"missing": "keep"})
    told = json.loads(explainer.fit(table).explain(table.head(2)).to_json(), parse_constant=pytest.fail)
    assert told["rows"][0]["row"]["age"] is None
    assert told["rows"][0]["counterfactuals"][0]["row"]["age"] is None


def test_a_plot_has_a_bar_for_each_change(explained):
    """As long as the step in standard deviations."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    answer = explained[2][0].counterfactuals[0]
    axes = explained[2].plot(0)
    assert [bar.get_width() for bar in axes.patches] == [change.step or 0.0 for change in answer.changes[::-1]]
    pyplot.close("all")


def test_a_page_escapes_what_comes_from_tables(tmp_path):
    """Column names and values are no HTML."""
    table = pd.DataFrame({"<b>x</b>": np.linspace(-1, 1, 40), "kind": ["<i>", "u&v"] * 20})
    explainer = CounterfactualExplainer(lambda rows: np.asarray(rows.iloc[:, 0] > 0, dtype=float), distance="gower")
    explainer.set_params(outputs="probabilities").fit(table).explain(table.head(2)).write_report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<b>x" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.assign(granted=table["age"]), "fitted without the columns granted"),
        (lambda table: table.drop(columns=["age", "sex"]), "lacks columns that the model was fitted to, age, sex"),
    ],
)
def test_columns_are_those_that_the_model_was_fitted_to(change, said, task, mixed_table):
    """Another one could be changed to no effect."""
    with pytest.raises(InputError, match=said):
        CounterfactualExplainer(task("mixed", "forest").model).fit(change(mixed_table()[0]))


def test_arrays_are_as_wide_as_what_the_model_was_fitted_to():
    """They have no names that could tell."""
    rows = np.random.default_rng(0).normal(size=(40, 3))
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    with pytest.raises(InputError, match="The table has 2 columns and the model was fitted to 3"):
        CounterfactualExplainer(model).fit(rows[:, :2])


class Ratio(TransformerMixin, BaseEstimator):
    """A transformer as people write it, which reads columns by name and does not say which it was fitted to."""

    def __init__(self, counts=False):
        self.counts = counts

    def fit(self, X, y=None):  # noqa: N803
        if self.counts:
            self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):  # noqa: N803
        return np.stack([X["income"] / (1 + X["age"]), X["savings"]], axis=1)

    def __sklearn_is_fitted__(self):
        return True


@pytest.mark.parametrize("counts", [False, True])
def test_a_pipeline_that_reads_columns_by_name_is_given_a_frame(mixed_table, counts):
    """Also where its first step does not tell the names."""
    table, granted = mixed_table(300)
    table = table[["age", "income", "savings"]]
    model = make_pipeline(Ratio(counts), RandomForestClassifier(5, random_state=0)).fit(table, granted)
    explanation = CounterfactualExplainer(model).fit(table).explain(table.head(3))
    assert (model.predict(explanation.table()) != model.predict(table.head(3))).all()


def test_a_frame_that_a_model_cannot_read_is_said_when_fitting(mixed_table):
    """With what the model has to say of it."""
    table, granted = mixed_table(60)
    model = make_pipeline(Ratio(), LogisticRegression()).fit(table, granted)
    with pytest.raises(InputError, match="neither from a frame nor from an array of its numbers .KeyError: 'income'"):
        CounterfactualExplainer(model).fit(table[["age", "savings"]])


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"method": "guess"}, InputError, "There is no method 'guess': use auto, blackbox"),
        ({"distance": "l3"}, UnknownNameError, "l3"),
        ({"columns": {"immutable": ["height"]}}, UnknownNameError, "height"),
        ({"desired_range": (1, 2)}, InputError, "desired_range is for regressions"),
    ],
)
def test_what_cannot_be_used_is_said_when_fitting(task, options, error, said, mixed_table):
    """Before any search."""
    with pytest.raises(error, match=said):
        CounterfactualExplainer(task("mixed", "forest").model, **options).fit(mixed_table()[0])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"desired_class": "rich"}, "The model knows no class 'rich'; it decides between"),
        ({"features_to_vary": ["height"]}, "height"),
        ({"permitted_range": {"income": (50, 10)}}, "income"),
        ({"total_cfs": 0}, "asks for no answer"),
    ],
)
def test_what_cannot_be_asked_is_said(explained, asked, said, mixed_table):
    """Each with the value that is wrong."""
    with pytest.raises((InputError, UnknownNameError), match=said):
        explained[1].explain(mixed_table()[0].head(2), **asked)


def test_no_row_is_nothing_to_explain(explained, mixed_table):
    """Which is said, and not left to the model to stumble over."""
    with pytest.raises(InputError, match="There is no row to explain"):
        explained[1].explain(mixed_table()[0].head(0))


def test_columns_that_the_explainer_does_not_know_are_left_out(explained, task):
    """Such as the label, wherever it stands in the table."""
    queries = task("mixed", "forest").queries.head(2)
    more = explained[1].explain(queries.assign(granted=1)[["granted", *queries.columns[::-1]]])
    pd.testing.assert_frame_equal(more.to_frame(), explained[1].explain(queries).to_frame())
    pd.testing.assert_frame_equal(more.changes(), explained[1].explain(queries).changes())


def test_rows_already_decided_as_wanted_say_so(explained, mixed_table):
    """Nothing is changed where nothing needs to be."""
    model, explainer, _ = explained
    rows = mixed_table()[0].head(6)
    wanted = model.predict(rows)
    explanation = explainer.explain(rows, desired_class=list(wanted))
    assert {one.status for one in explanation} == {"already"}
    assert not any(one.counterfactuals or one.nearest_miss for one in explanation)
    assert explanation.to_frame()["answer"].isna().all()
    assert explanation.changes().empty
    assert explanation.measures()["answered"].sum() == 0
    assert isinstance(explanation, Explanation)


def test_measures_are_those_of_the_nearest_answers(explained, task):
    """A line for each row; a group of 0/1 columns is one; the second model is asked about rows as they are written."""
    model, _, explanation = explained
    measured = explanation.measures(model)
    nearest = [one.counterfactuals[0] for one in explanation]
    changed = [{change.column.partition("_")[0] for change in answer.changes} for answer in nearest]

    assert measured["distance"].tolist() == [answer.distance for answer in nearest]
    assert measured["changed_columns"].tolist() == [len(columns) for columns in changed]
    assert (measured["agreement"] == 1).all()
    assert (measured["violations"] == 0).all()
    assert (measured["diversity"] > 0).all()
    assert (measured["model_rows"] > 0).all()
    assert measured["seconds"].sum() == pytest.approx(explanation.answers.seconds)
    assert explanation.measures(lambda table: -model.predict(table) - 1)["agreement"].sum() == 0


def test_measures_of_a_row_without_an_answer_are_missing(task, mixed_table):
    """It counts as not answered, and means leave it out; what its search has cost stays."""
    one = task("mixed", "forest")
    explainer = CounterfactualExplainer(one.model, columns={"immutable": list(mixed_table()[0].columns)})
    measured = explainer.fit(mixed_table()[0]).explain(one.queries.head(2)).measures(one.model)

    assert not measured["answered"].any()
    assert measured[["distance", "l2", "outlier", "violations", "agreement"]].isna().all(axis=None)
    assert measured["seconds"].notna().all()


@pytest.mark.parametrize("method", ["gradient", "blackbox"])
@pytest.mark.parametrize("form", ["logits", "probabilities"])
def test_with_a_threshold_opposite_is_the_nearest_of_the_classes_that_reach_it(method, form):
    """Not a row that the present class has merely lost its lead in, which may be decided as before."""
    module = torch.nn.Linear(2, 3).double()
    with torch.no_grad():
        module.weight[:] = torch.tensor([[-1.0, -1.0], [2.0, 0.0], [0.0, 2.0]])
        module.bias[:] = torch.tensor([1.0, 0.0, 0.0])
    model = module if form == "logits" else torch.nn.Sequential(module, torch.nn.Softmax(dim=1))
    rows = np.random.default_rng(0).normal(size=(200, 2))
    explainer = CounterfactualExplainer(model, distance="l2", method=method, threshold=0.6, inputs="encoded").fit(rows)
    queries = rows[(rows.sum(axis=1) < 0)][:20]
    answers = explainer.explain(queries).answers
    each = [explainer.explain(queries, desired_class=wanted).answers.distances[:, 0] for wanted in (1, 2)]

    with torch.no_grad():
        chances = module(answers.rows[:, 0]).softmax(dim=1)
        now = module(answers.reach.reference).argmax(dim=1)
    assert (now == 0).all()
    assert answers.found.all()
    assert (chances[:, 1:].amax(dim=1) >= 0.6).all()
    slack = 0.1 if method == "blackbox" else 1e-3
    torch.testing.assert_close(answers.distances[:, 0], torch.stack(each).amin(dim=0), rtol=slack, atol=1e-6)
