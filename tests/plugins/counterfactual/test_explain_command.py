"""``preimage explain``, as people type it."""

from __future__ import annotations

import json
import sys

import joblib
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from preimage.cli import main


@pytest.fixture(scope="module")
def files(task, tmp_path_factory, mixed_table):
    """A table as CSV and its forest as a pickle; a CSV knows no ordered levels, so that columns of words stay out."""
    from sklearn.ensemble import RandomForestClassifier

    folder = tmp_path_factory.mktemp("loan")
    table, granted = mixed_table(300)
    numbers = table[["age", "income", "savings"]]
    model = RandomForestClassifier(20, random_state=0).fit(numbers, granted)
    joblib.dump(model, folder / "model.joblib")
    numbers.assign(granted=granted).to_csv(folder / "loans.csv", index=False)
    return folder, model


def run(files, *arguments):
    folder, _ = files
    given = ["explain", str(folder / "loans.csv"), "--model", str(folder / "model.joblib"), "--trust-model"]
    return main([*given, *arguments])


def test_rows_are_explained_in_words_and_tables(files, capsys):
    """Two rows, each with its number in the table."""
    assert run(files, "--row", "3", "--row", "7", "--immutable", "age") == 0
    said, aside = capsys.readouterr()
    assert aside == "Left out, since the model does not read it: granted.\n"
    assert "row 3, decided" in said
    assert "row 7, decided" in said
    assert "2 of 2 rows answered by blackbox" in said
    assert "age " not in said.replace("age\n", "")


def test_rows_decided_as_wanted_are_no_failure(files, capsys):
    """They get a sentence and no answer, and the program ends well."""
    folder, model = files
    decided = model.predict(pd.read_csv(folder / "loans.csv")[["age", "income", "savings"]].head(20)).tolist()
    rows = [str(decided.index(0)), str(decided.index(1))]
    assert run(files, "--row", rows[0], "--row", rows[1], "--target", "1") == 0
    answered, unasked = capsys.readouterr().out.split("\nrow ")
    assert "before" in answered
    assert unasked.split("\n\n")[0].splitlines()[1:] == ["  The row is already decided as wanted."]
    assert "1 of 2 rows answered" in unasked
    assert "1 decided as wanted already" in unasked


def test_answers_written_as_a_table_are_decided_as_asked(files, tmp_path, capsys):
    """The file that --out writes, read back and put to the model."""
    out = tmp_path / "answers.csv"
    assert run(
        files, *[text for row in range(5) for text in ("--row", str(row))], "--target", "1", "--out", str(out)
    ) in (0, 1)
    frame = pd.read_csv(out)
    found = frame[frame["status"] == "found"]
    assert len(found)
    assert (files[1].predict(found[["age", "income", "savings"]]) == 1).all()


def test_a_table_may_have_columns_named_as_those_of_the_answers(files, tmp_path):
    """The file that --out writes has both, and the places of the rows under the name that is not the table's."""
    folder, _ = files
    table = pd.read_csv(folder / "loans.csv").rename(columns={"age": "row"})
    table.to_csv(tmp_path / "loans.csv", index=False)
    model = LogisticRegression(max_iter=2000).fit(table.drop(columns="granted"), table["granted"])
    joblib.dump(model, tmp_path / "model.joblib")
    given = ["explain", str(tmp_path / "loans.csv"), "--model", str(tmp_path / "model.joblib"), "--trust-model"]
    assert main([*given, "--row", "7", "--immutable", "row", "--out", str(tmp_path / "answers.csv")]) == 0
    frame = pd.read_csv(tmp_path / "answers.csv")
    assert frame["counterfactual_row"].tolist() == [7]
    assert frame["row"].tolist() == [table["row"][7]]


def test_json_can_be_read_by_programs(files, capsys):
    """With the place of each row in the table."""
    assert run(files, "--row", "11", "--json") == 0
    assert [row["position"] for row in json.loads(capsys.readouterr().out)["rows"]] == [11]


def test_a_column_may_be_left_out(files, capsys):
    """Without a word about it; the model is not asked to do without what it reads."""
    assert run(files, "--row", "3", "--drop", "granted") == 0
    assert capsys.readouterr().err == ""
    assert run(files, "--row", "3", "--drop", "age") == 2
    assert "lacks columns that the model was fitted to, age" in capsys.readouterr().err


def test_a_report_is_one_file(files, tmp_path, capsys):
    """That names the table and calls rows by their numbers there."""
    assert run(files, "--row", "4", "--row", "2", "--report", str(tmp_path / "page.html")) == 0
    page = (tmp_path / "page.html").read_text()
    assert "loans.csv" in page
    assert page.index("<h2>Row 4: ") < page.index("<h2>Row 2: ")


def test_a_pickle_is_not_opened_without_the_users_word(files, capsys):
    """It could run anything."""
    folder, _ = files
    given = ["explain", str(folder / "loans.csv"), "--model", str(folder / "model.joblib"), "--row", "0"]
    assert main(given) == 2
    assert "runs whatever code it holds" in capsys.readouterr().err


def test_a_skops_file_is_opened_without_where_skops_vouches_for_it(files, tmp_path, capsys):
    """A linear model can run no code; what a forest holds is left to the user."""
    io = pytest.importorskip("skops.io")
    folder, forest = files
    table = pd.read_csv(folder / "loans.csv")
    linear = LogisticRegression(max_iter=2000).fit(table.drop(columns="granted"), table["granted"])
    for model, name in ((linear, "linear.skops"), (forest, "forest.skops")):
        io.dump(model, tmp_path / name)
    given = ["explain", str(folder / "loans.csv"), "--row", "0", "--model"]
    assert main([*given, str(tmp_path / "linear.skops")]) == 0
    assert main([*given, str(tmp_path / "forest.skops")]) == 2
    assert "skops does not vouch for" in capsys.readouterr().err


def test_a_skops_file_that_is_none_is_said_to_be_none(files, tmp_path, capsys):
    """It is no archive at all."""
    pytest.importorskip("skops.io")
    (tmp_path / "broken.skops").write_text("nothing")
    assert main(["explain", str(files[0] / "loans.csv"), "--model", str(tmp_path / "broken.skops"), "--row", "0"]) == 2
    assert "cannot be read as a skops file (BadZipFile" in capsys.readouterr().err


def test_a_module_of_the_working_directory_holds_a_model(files, tmp_path, monkeypatch, capsys):
    """Whichever way the program was started; the path is left as it was."""
    folder, _ = files
    (tmp_path / "lending.py").write_text(f"import joblib\n\nmodel = joblib.load({str(folder / 'model.joblib')!r})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "lending", raising=False)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    before = list(sys.path)
    assert main(["explain", str(folder / "loans.csv"), "--model", "lending:model", "--row", "3"]) == 0
    assert "row 3, decided" in capsys.readouterr().out
    assert sys.path == before


def test_regressions_and_gaps_are_explained_too(tmp_path, capsys, mixed_table):
    """A value between two, of rows of which some miss a cell."""
    table = mixed_table(200)[0][["age", "income", "savings"]]
    table.loc[table.index[::7], "age"] = None
    model = HistGradientBoostingRegressor(max_iter=20, random_state=0).fit(table[["age", "income"]], table["savings"])
    joblib.dump(model, tmp_path / "model.joblib")
    table.to_csv(tmp_path / "table.csv", index=False)
    given = ["explain", str(tmp_path / "table.csv"), "--model", str(tmp_path / "model.joblib"), "--trust-model"]
    asked = [*given, "--row", "0", "--row", "1", "--desired-range", "30:", "--out", str(tmp_path / "answers.csv")]
    assert main(asked) == 2
    assert "'age' misses" in capsys.readouterr().err
    assert main([*asked, "--missing", "keep"]) == 0
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert (answers["decision"] >= 30).all()
    assert answers["age"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--row", "999"], "has the rows 0 to 299, and --row asks for 999"),
        (["--row", "0", "--target", "maybe"], "knows no class 'maybe'"),
        (
            ["--row", "0", "--range", "income=low"],
            "--range income=low gives no bounds: write, for",
        ),
        (
            ["--row", "0", "--desired-range", "5"],
            "gives no bounds: write, for example, --desired-range 5:8",
        ),
        (["--row", "0", "--drop", "height"], "has no column 'height' to drop"),
        ([], "--row"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(files, arguments, said, capsys):
    """With what to write instead."""
    assert run(files, *arguments) == 2
    assert said in capsys.readouterr().err
