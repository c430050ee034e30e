"""A table becomes a space and comes back as it was; limits hold for every row that a search may propose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from preimage.api import FeatureSpace, Reach
from preimage.errors import InputError, UnknownNameError
from preimage_counterfactual.space import TableSpace


def wild(reach, times=5, seed=0):
    """Rows far outside everything that is allowed, and whose they are."""
    run = torch.arange(len(reach.reference)).repeat_interleave(times)
    noise = torch.randn(len(run), reach.reference.shape[1], generator=torch.Generator().manual_seed(seed))
    return reach.reference[run] + 5 * noise.double(), run


def test_kinds_and_bounds_are_read_off_the_table(mixed_table):
    """Whole numbers, fractions, two values, words and ordered categories are told apart."""
    table, _ = mixed_table()
    space = TableSpace(table)
    kinds = {column.name: column.kind for column in space.columns}
    assert kinds == {
        "age": "integer",
        "education": "ordinal",
        "income": "numeric",
        "savings": "numeric",
        "job": "categorical",
        "married": "binary",
        "sex": "binary",
        "region_north": "binary",
        "region_south": "binary",
        "region_west": "binary",
    }
    assert space.column("education").levels == ("school", "college", "degree")
    assert (space.column("age").lower, space.column("age").upper) == (table.age.min(), table.age.max())
    assert space.units[-1] == ("region_north", "region_south", "region_west")
    assert isinstance(space, FeatureSpace)
    assert isinstance(space.around(table[:2]), Reach)


def test_what_is_declared_goes_before_what_is_read(mixed_table):
    """Kinds, levels, ranges and groups may be told."""
    table, _ = mixed_table()
    space = TableSpace(
        table,
        kinds={"age": "numeric", "job": "ordinal"},
        levels={"job": ["clerk", "nurse", "trader"]},
        ranges={"income": (0, None), "job": ["clerk", "nurse"]},
        one_hot=[],
        decimals={"savings": 1},
    )
    assert space.column("age").kind == "numeric"
    assert (space.column("job").kind, space.column("job").upper) == ("ordinal", 1)
    assert (space.column("income").lower, space.column("income").upper) == (0, np.inf)
    assert space.groups == ()
    assert space.column("savings").grid == pytest.approx(0.1)


@pytest.mark.parametrize("library", ["pandas", "polars", "numpy", "single"])
def test_encoded_and_decoded_is_as_before(mixed_table, library):
    """Values, types and names come back, whatever library the table is of."""
    table, _ = mixed_table(60)
    if library == "pandas":
        pd.testing.assert_frame_equal(TableSpace(table).decode(TableSpace(table).encode(table)), table)
    elif library == "polars":
        frame = pl.from_pandas(table.assign(education=table.education.astype(str))).with_columns(
            pl.col("education").cast(pl.Enum(["school", "college", "degree"]))
        )
        space = TableSpace(frame)
        assert space.column("education").kind == "ordinal"
        back = space.decode(space.encode(frame))
        assert back.schema == frame.schema
        assert back.drop("income", "savings").equals(frame.drop("income", "savings"))
        np.testing.assert_allclose(back["income"].to_numpy(), frame["income"].to_numpy(), rtol=1e-12)
    else:
        array = table[["age", "income"]].to_numpy(np.float32 if library == "single" else np.float64)
        back = TableSpace(array).decode(TableSpace(array).encode(array))
        assert back.dtype == array.dtype
        np.testing.assert_allclose(back, array, rtol=1e-7 if library == "single" else 1e-14)


def test_cells_that_have_not_moved_are_the_queries_own(mixed_table):
    """Decoding the query gives it back bit by bit, without a rounding error of the scaling."""
    table, _ = mixed_table()
    reach = TableSpace(table[:400]).around(table[400:].reset_index(drop=True))
    run = torch.arange(len(reach.reference))
    pd.testing.assert_frame_equal(
        reach.rows(reach.round(reach.reference, run), run), table[400:].reset_index(drop=True), check_exact=True
    )


def test_what_is_proposed_keeps_all_limits(mixed_table):
    """Immutables, directions, bounds, ranges, levels and one-hot groups hold exactly, in the table itself."""
    table, _ = mixed_table()
    queries = table[400:].reset_index(drop=True)
    space = TableSpace(
        table[:400],
        immutable=["sex", "savings"],
        change={"age": "increase", "education": "decrease"},
        decimals={"income": 2},
    )
    reach = space.around(queries, ranges={"income": (10, 40), "job": ["clerk", "trader"]})
    rows, run = wild(reach)
    fluid = reach.project(rows, run)
    for group in space.groups:
        torch.testing.assert_close(fluid[:, group].sum(dim=1), torch.ones(len(rows)).double())
        assert (fluid[:, group] >= 0).all()
    answers = reach.rows(reach.round(fluid, run), run)
    asked = queries.loc[run.numpy()].reset_index(drop=True)
    for name in ("sex", "savings"):
        pd.testing.assert_series_equal(answers[name], asked[name], check_exact=True)
    assert (answers.age >= asked.age).all()
    assert (answers.education.cat.codes <= asked.education.cat.codes).all()
    assert answers.income.between(np.minimum(asked.income, 10), np.maximum(asked.income, 40)).all()
    moved = answers.income != asked.income
    assert moved.any()
    inside = moved & answers.income.between(10.01, 39.99)
    assert (answers.income[inside].round(2) == answers.income[inside]).all()
    assert ((answers.job == asked.job) | answers.job.isin(["clerk", "trader"])).all()
    assert (answers.filter(like="region").sum(axis=1) == 1).all()
    assert answers.dtypes.equals(asked.dtypes)


def test_rounding_twice_is_rounding_once(mixed_table):
    """What can be written down stays as it is, also where single precision and followers are about."""
    table, _ = mixed_table()
    table = table.astype({"income": np.float32})
    space = TableSpace(table, follows={"savings": ["income"]})
    reach = space.around(table[:50])
    rows, run = wild(reach)
    once = reach.round(rows, run)
    assert torch.equal(reach.round(once, run), once)


def test_each_query_may_have_ranges_of_its_own(mixed_table):
    """One mapping for each query; a query outside its range may stay where it is."""
    table, _ = mixed_table()
    space = TableSpace(table)
    reach = space.around(table[:2], ranges=[{"income": (100, 200)}, {}])
    place = space.spans[space.places["income"]].start
    raw = reach.space.to_raw(reach.upper)[:, place]
    assert raw.tolist() == pytest.approx([200, table.income.max()])
    assert reach.lower[0, place] == reach.reference[0, place]


def test_a_range_stays_within_the_ranges_that_were_declared(mixed_table):
    """Of numbers, levels in order and levels without; bounds that are only read off the table are passed."""
    table, _ = mixed_table()
    declared = {"income": (10, 40), "job": ["clerk", "nurse"], "education": ["college", "degree"]}
    space = TableSpace(table, ranges=declared)
    asked = {"income": (30, 90), "job": ["nurse", "trader"], "education": ["school", "college"], "savings": (-500, 500)}
    query = table[(table.income < 40) & (table.job == "clerk") & (table.education == "college")].head(1)
    reach = space.around(query, ranges=asked)
    bounds = {
        name: (reach.raw_lower[0, space.spans[space.places[name]]], reach.raw_upper[0, space.spans[space.places[name]]])
        for name in asked
    }

    assert bounds["income"][1].tolist() == [40]
    assert bounds["savings"] == (torch.tensor([-500.0]), torch.tensor([500.0]))
    assert bounds["education"] == (torch.tensor([1.0]), torch.tensor([1.0]))
    assert bounds["job"][1].tolist() == [1, 1, 0]


def test_the_bounds_of_a_range_are_values_that_can_be_written_down(mixed_table):
    """Whole numbers between 18.5 and 40.5 begin at 19 and end at 40; so do amounts with one digit at theirs."""
    table, _ = mixed_table()
    space = TableSpace(table, decimals={"income": 1})
    ranges = {"age": (18.5, 40.5), "income": (-7.25, 90.99)}
    reach = space.around(table[table.age.between(25, 35)].head(4), ranges=ranges)
    run = torch.arange(4)
    for bound, age, income in ((reach.lower, 19, -7.2), (reach.upper, 40, 90.9)):
        answers = reach.rows(reach.round(bound, run), run)
        assert answers.age.tolist() == [age] * 4
        assert answers.income.tolist() == pytest.approx([income] * 4)


def test_only_what_may_vary_is_free(mixed_table):
    """`vary` names the columns that may change; a column of a group frees the whole group."""
    table, _ = mixed_table()
    space = TableSpace(table, immutable=["age"])
    reach = space.around(table[:3], vary=["income", "age", "region_south"])
    free = {space.units[unit][0] for unit in space.column_of[reach.free[0]].tolist()}
    assert free == {"income", "region_north"}


def test_followers_move_as_the_data_let_expect(mixed_table):
    """A column that follows moves by its regression on what changed, and its gradient is handed on."""
    table, _ = mixed_table(2000)
    space = TableSpace(table, follows={"savings": ["income"]}, ranges={"savings": (None, None)})
    reach = space.around(table[:20])
    income, savings = (space.spans[space.places[name]].start for name in ("income", "savings"))
    moved = reach.reference.clone()
    moved[:, income] += 0.5
    run = torch.arange(20)
    raw = reach.raw(reach.round(moved, run), run) - reach.raw_reference
    ratio = raw[:, savings] / raw[:, income]
    assert ratio.numpy() == pytest.approx(np.full(20, 0.8), abs=0.03)
    gradient = torch.zeros(1, space.width).double()
    gradient[0, savings] = 1.0
    pulled = reach.pull_back(gradient)
    assert pulled[0, savings] == 0
    assert pulled[0, income] == pytest.approx(float(space.follow_matrix[income, savings]))
    assert not reach.free[:, savings].any()


def test_missing_values_are_refused_or_stay_missing(mixed_table):
    """By choice; a missing number is measured as the mean and a missing level is a level."""
    table, _ = mixed_table()
    table = table.astype({"job": object})
    table.loc[3, "income"] = np.nan
    table.loc[4, "job"] = None
    with pytest.raises(InputError, match=r"'income' misses 1 of 600 values: .* missing=\"keep\""):
        TableSpace(table)
    space = TableSpace(table, missing="keep")
    place = space.spans[space.places["income"]].start
    reach = space.around(table[:6])
    assert space.data[3, place] == 0
    assert not reach.free[3, place]
    assert reach.free[2, place]
    rows, run = wild(reach)
    answers = reach.rows(reach.round(rows, run), run)
    assert answers.income.isna().tolist() == [query == 3 for query in run.tolist()]
    back = space.decode(space.encode(table))
    assert back.job[4] is None or back.job.isna()[4]


@pytest.mark.parametrize("kind", ["Int64", "Float64", "string", "boolean", "category"])
def test_gaps_of_nullable_columns_are_gaps(mixed_table, kind):
    """Whatever pandas writes for them; refused or kept, and written as they were."""
    table, _ = mixed_table(60)
    name = {"Int64": "age", "Float64": "income", "string": "job", "boolean": "married", "category": "sex"}[kind]
    table[name] = table[name].astype(object).where(table.index != 3, None).astype(kind)
    with pytest.raises(InputError, match=f"{name!r} misses 1 of 60 values"):
        TableSpace(table)
    space = TableSpace(table, missing="keep")
    pd.testing.assert_frame_equal(space.decode(space.encode(table[4:])), table[4:].reset_index(drop=True))
    reach = space.around(table[:4])
    run = torch.arange(4)
    pd.testing.assert_frame_equal(reach.rows(reach.round(reach.reference, run), run), table[:4])


@pytest.mark.parametrize("library", ["pandas", "polars", "numpy"])
def test_a_gap_stays_one_where_the_table_had_none(mixed_table, library):
    """A whole number or a truth value has no room for it in its type; a category has no level for it."""
    table, _ = mixed_table(60)
    table = table[["age", "married", "income", "job"]]
    query = table.head(2).astype({"age": float, "married": object})
    query.iloc[0, :2] = np.nan, None
    if library == "polars":
        table, query = pl.from_pandas(table), pl.from_pandas(query, nan_to_null=True)
    elif library == "numpy":
        table, query = table[["age"]].to_numpy(), query[["age"]].to_numpy()
    reach = TableSpace(table, missing="keep").around(query)
    rows, run = wild(reach)
    answers = reach.rows(reach.round(rows, run), run)
    answers = answers.to_pandas() if library == "polars" else pd.DataFrame(answers)

    assert answers.iloc[:, 0].isna().tolist() == [query == 0 for query in run.tolist()]
    if library != "numpy":
        assert answers.iloc[:, 1].isna().tolist() == [query == 0 for query in run.tolist()]
    if library == "pandas":
        with pytest.raises(InputError, match="'job' holds None in row 1, and its levels are"):
            TableSpace(table, missing="keep").around(query.assign(job=["clerk", None]))


def test_groups_are_found_by_name_and_sum(mixed_table):
    """0/1 columns of one name that do not sum to one are no group."""
    table, _ = mixed_table()
    assert len(TableSpace(table).groups) == 2
    table["region_west"] = 1 - table["region_west"]
    assert len(TableSpace(table).groups) == 1
    with pytest.raises(InputError, match="In row 0, .* in a one-hot group exactly one is"):
        TableSpace(table, one_hot=[["region_north", "region_south", "region_west"]])


def test_levels_that_do_not_occur_are_not_answered_unless_they_are_declared(mixed_table):
    """A type may list what no row is, and what a model has never seen; a row that is so can be read all the same."""
    table, _ = mixed_table()
    table = table.assign(
        job=pd.Categorical(table.job, ["clerk", "farmer", "nurse", "trader"]),
        education=table.education.cat.add_categories("doctorate"),
    )
    space = TableSpace(table)
    query = table.head(4).assign(job=pd.Categorical(["farmer"] * 4, table.job.cat.categories))
    answers = {}
    for limits in ({}, {"job": ["farmer", "clerk"], "education": ["school", "doctorate"]}):
        reach = space.around(table.head(4), ranges=limits)
        rows, run = wild(reach, times=50)
        found = reach.rows(reach.round(rows, run), run)
        answers[bool(limits)] = set(found.job), set(found.education)

    assert answers[False] == ({"clerk", "nurse", "trader"}, {"school", "college", "degree"})
    assert "farmer" in answers[True][0]
    assert "doctorate" in answers[True][1]
    assert space.decode(space.encode(query)).job.tolist() == ["farmer"] * 4
    assert TableSpace(table, levels={"job": ["clerk", "farmer", "nurse", "trader"]}).column("job").permitted is None


def test_a_constant_column_may_not_change(mixed_table):
    """It has one value, and nothing says which others there might be."""
    table, _ = mixed_table()
    space = TableSpace(table.assign(currency="EUR", year=2024))
    assert space.column("currency").change == space.column("year").change == "none"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda t: TableSpace(t[:1]), InputError, "The table has 1 row, which show neither bounds nor spread"),
        (lambda t: TableSpace(t, immutable=["agee"]), UnknownNameError, "no column 'agee', .* Did you mean 'age'"),
        (lambda t: TableSpace(t, ranges={"income": (5, 1)}), InputError, "5.0 to 1.0, which holds nothing"),
        (lambda t: TableSpace(t, ranges={"job": ["pilot"]}), InputError, r"\['pilot'\], and its levels are \['clerk'"),
        (lambda t: TableSpace(t, ranges={"income": [30]}), InputError, r"is \[30\]: give two numbers, \(least"),
        (lambda t: TableSpace(t, ranges={"income": 30}), InputError, r"is 30: give two numbers, \(least, greatest\)"),
        (lambda t: TableSpace(t, ranges={"job": 30}), InputError, r"is 30, and its levels are \['clerk'"),
        (lambda t: TableSpace(t, ranges={"age": (30.2, 30.8)}), InputError, "holds no value that it can have: widen"),
        (
            lambda t: TableSpace(t, ranges={"age": (20, 30)}).around(t, ranges={"age": (31, 60)}),
            InputError,
            "31.0 to 60.0, which holds no value that it can have within the 20.0 to 30.0 that it was declared",
        ),
        (
            lambda t: TableSpace(t, ranges={"job": ["clerk"]}).around(t, ranges={"job": ["nurse"]}),
            InputError,
            r"\['nurse'\], and it was declared to have none of these",
        ),
        (lambda t: TableSpace(t, change={"job": "increase"}), InputError, "no order to increase in"),
        (lambda t: TableSpace(t, follows={"job": ["age"]}), InputError, "followers are numbers"),
        (lambda t: TableSpace(t, kinds={"age": "binary"}), InputError, "declared binary and has 46 values"),
        (lambda t: TableSpace(t.assign(age=np.inf)), InputError, "'age' holds infinity"),
        (lambda t: TableSpace(t.assign(age=np.nan), missing="keep"), InputError, "nothing but missing values"),
        (lambda t: TableSpace(t).encode(t.drop(columns="age")), InputError, "no column 'age', and the space"),
        (lambda t: TableSpace(t).encode(t.assign(job="pilot")), InputError, "holds 'pilot' in row 0, and its levels"),
        (lambda t: TableSpace(t).encode(t.assign(age=30.7)), InputError, "holds 30.7 in row 0, and it is of whole"),
        (lambda t: TableSpace(pl.from_pandas(t)).encode(t.assign(age=30.7)), InputError, r"'age' holds 30\.7 in row 0"),
        (lambda t: TableSpace(t).around(t[:3], ranges=[{}]), InputError, "3 queries and 1 mappings of ranges"),
        (lambda t: TableSpace(t.rename(columns={"age": "income"})), InputError, "Several columns .* have one name"),
        (lambda t: TableSpace(np.zeros((2, 2, 2))), InputError, r"shape \(2, 2, 2\): a table has rows and columns"),
    ],
)
def test_what_cannot_be_used_gets_a_sentence(mixed_table, make, error, message):
    """Each mistake is named with its values and a way out."""
    with pytest.raises(error, match=message):
        make(mixed_table()[0])
