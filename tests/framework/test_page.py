"""The page: complete, well formed, and safe whatever a prompt says."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from preimage.api import Spent
from preimage.chart import Curve, line_chart, scatter_chart, shape, ticks
from preimage.errors import InputError
from preimage.page import write_page
from preimage.result import Provenance, Result, TargetRecord
from preimage.track import Point

HOSTILE = """<script>alert(1)</script> & "quoted" 'x' <img src=http://evil.example/x onerror=alert(2)>"""
VOID = {"meta", "img", "br", "line", "path", "circle"}


class Checker(HTMLParser):
    """Collects the elements and texts of a page and insists that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def result(picture: Path | str, text: str = "a red circle", optimizer: str = "gcg", **changes: Any) -> Result:
    """Return a result with a history of three steps."""
    points = tuple(
        Point(0, step, loss, loss, text, Spent(candidates=100 * step, forward=90 * step, seconds=0.5 * step))
        for step, loss in ((1, 0.9), (2, 0.5), (3, 0.5))
    )
    recipe = {
        "stages": [{"optimizer": optimizer, "budget": {"num_steps": 3}}],
        "terms": [{"objective": "clip-similarity", "model": "toy:clip"}],
    }
    found = Result(
        text=text,
        ids=(1, 2, 3),
        loss=0.5,
        terms={"clip-similarity(toy:clip)": 0.5},
        target=TargetRecord("image", str(picture), str(picture)),
        stop_reason="num_steps",
        best_step=2,
        spent=points[-1].spent,
        trajectory=points,
        provenance=Provenance(recipe, 7, {"preimage": "0.1.0", "torch": "2.9"}, {"toy:clip": "abcdef0123456789"}),
    )
    return attrs.evolve(found, **changes)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 6), "red").save(path)
    return path


def written(tmp_path: Path, *results: Result, **options: Any) -> str:
    path = tmp_path / "page.html"
    write_page(results, path, **options)
    return path.read_text(encoding="utf-8")


class TestContents:
    def test_drawn_prompts_stand_beside_them(self, tmp_path: Path, picture: Path) -> None:
        """What a generator made of each prompt stands below it, with the prompt for who does not see it."""
        found = [result(picture), result(tmp_path / "other.png"), result(picture, HOSTILE)]
        drawn = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue")]
        page = written(tmp_path, *found, drawn=drawn)
        labels = [given.get("alt") for tag, given in Checker(page).elements if tag == "img"]
        assert labels == ["picture.png", "drawn: a red circle", f"drawn: {HOSTILE}", "drawn: a red circle"]

    def test_everything_is_there(self, tmp_path: Path, picture: Path) -> None:
        """Picture, caption, prompts with losses, curves, costs, versions and the recipe stand on the page."""
        found = [result(picture), result(picture, "a crimson disc", "random-search", loss=0.75)]
        page = written(tmp_path, *found, truths={str(picture): "a round red thing"}, title="My title")
        text = " ".join(Checker(page).texts)
        for expected in (
            "My title",
            "a red circle",
            "a crimson disc",
            "0.5000",
            "0.7500",
            "a round red thing",
            "random-search",
            "candidates scored",
            "best loss",
            "preimage 0.1.0",
            "abcdef012345",
            "preimage invert PICTURE --recipe recipe.yaml --seed 7",
            "optimizer: gcg",
            "picture.png",
        ):
            assert expected in text

    def test_results_of_one_picture_share_a_section_and_a_chart(self, tmp_path: Path, picture: Path) -> None:
        """Two methods on one picture are two curves of one chart; another picture has its own section."""
        other = tmp_path / "other.png"
        Image.new("RGB", (8, 8), "blue").save(other)
        checker = Checker(written(tmp_path, result(picture), result(picture, optimizer="pez"), result(other)))
        assert checker.count("section") == 2
        assert checker.count("svg") == 2
        assert sum(attributes.get("class") == "line" for _, attributes in checker.elements) == 3

    def test_searches_of_one_name_are_told_apart(self, tmp_path: Path, picture: Path) -> None:
        """Two runs of one optimizer on one picture get names that differ."""
        page = written(tmp_path, result(picture), result(picture, "another"), result(picture, "a third"))
        assert "gcg, seed 7" in page
        assert "gcg, run 2" in page

    def test_stages_are_named_in_order(self, tmp_path: Path, picture: Path) -> None:
        """A search of several stages is called by all of them."""
        recipe = {"stages": [{"optimizer": "random-search"}, {"optimizer": "gcg"}], "terms": []}
        found = result(picture)
        found = attrs.evolve(found, provenance=attrs.evolve(found.provenance, recipe=recipe))
        assert "random-search → gcg" in written(tmp_path, found)

    def test_terms_are_listed_where_there_are_several(self, tmp_path: Path, picture: Path) -> None:
        """The cost table has a column for each of several terms."""
        found = result(picture, terms={"clip-similarity": 0.25, "fluency": 3.125})
        text = " ".join(Checker(written(tmp_path, found)).texts)
        assert "fluency" in text
        assert "3.1250" in text

    def test_result_without_recipe_or_history(self, tmp_path: Path, picture: Path) -> None:
        """A result of live objects, or of a search that was over at its start, still has its section."""
        found = result(picture, trajectory=())
        found = attrs.evolve(found, provenance=Provenance({}, 0, {}, {}))
        checker = Checker(written(tmp_path, found))
        assert checker.count("section") == 1
        assert checker.count("svg") == 0

    def test_seven_methods_have_colours(self, tmp_path: Path, picture: Path) -> None:
        """Every curve's class is one that the style knows."""
        page = written(tmp_path, *(result(picture, optimizer=f"method-{number}") for number in range(7)))
        used = set(re.findall(r'class="(series-\d+)"', page))
        assert used
        assert all(f".{name} {{" in page for name in used)


class TestPictures:
    def test_picture_is_inside_the_page(self, tmp_path: Path, picture: Path) -> None:
        """The picture is a data URI, and a tiny one is enlarged without blur."""
        (image,) = [
            attributes for tag, attributes in Checker(written(tmp_path, result(picture))).elements if tag == "img"
        ]
        assert str(image["src"]).startswith("data:image/png;base64,")
        assert "tiny" in str(image["class"])

    def test_large_picture_is_scaled_down_and_not_changed(self, tmp_path: Path) -> None:
        """A large picture makes no heavy page, and the caller's picture keeps its size."""
        large = Image.effect_noise((3000, 2000), 80).convert("RGB")
        page = written(tmp_path, result("large"), images={"large": large})
        assert large.size == (3000, 2000)
        assert len(page) < 5_000_000

    def test_missing_picture_is_said(self, tmp_path: Path) -> None:
        """A page about a picture that is gone says so."""
        assert "no longer where it was" in written(tmp_path, result(tmp_path / "gone.png"))


class TestSafety:
    def test_hostile_texts_are_shown_and_do_nothing(self, tmp_path: Path, picture: Path) -> None:
        """Markup in prompts, captions, titles and names appears as text and makes no element."""
        harmless = Checker(written(tmp_path, result(picture), truths={str(picture): "x"}))
        found = result(picture, HOSTILE, optimizer=HOSTILE, stop_reason=HOSTILE, terms={HOSTILE: 1.0, "b": 2.0})
        checker = Checker(written(tmp_path, found, truths={str(picture): HOSTILE}, title=HOSTILE))
        assert HOSTILE in checker.texts
        assert checker.count("script") == 0
        assert checker.count("img") == harmless.count("img")
        assert not any("onerror" in attributes for _, attributes in checker.elements)

    def test_page_asks_for_nothing(self, tmp_path: Path, picture: Path) -> None:
        """No element refers to anything outside the page, and its policy forbids it."""
        page = written(tmp_path, result(picture))
        checker = Checker(page)
        references = [
            value
            for _, attributes in checker.elements
            for name, value in attributes.items()
            if name in ("src", "href", "srcset", "action") and value
        ]
        assert references
        assert all(reference.startswith("data:") for reference in references)
        assert "default-src 'none'" in page
        assert "url(" not in page
        assert "@import" not in page


class TestBadInput:
    def test_no_result(self, tmp_path: Path) -> None:
        """A page about nothing is refused."""
        with pytest.raises(InputError, match="no result"):
            write_page([], tmp_path / "page.html")

    def test_unwritable(self, tmp_path: Path, picture: Path) -> None:
        """A path that cannot be written to is named."""
        with pytest.raises(InputError, match="cannot be written"):
            write_page([result(picture)], tmp_path)


class TestChart:
    def test_line_ends_at_the_last_point(self) -> None:
        """The curve reaches its last x even where nothing improves any more."""
        svg = line_chart([Curve("a", ((0, 1.0), (10, 0.0), (100, 0.0)))], x_label="x", y_label="y")
        assert re.search(r'd="M46\.0 12\.0H[\d.]+V208\.0H406\.0"', svg)

    def test_flat_curve(self) -> None:
        """A curve of one value has an axis all the same."""
        assert "<path" in line_chart([Curve("a", ((0, 0.5), (5, 0.5)))], x_label="x", y_label="y")

    def test_curve_without_points_keeps_the_colours(self) -> None:
        """A method that left no history does not change the colour of the next one."""
        svg = line_chart([Curve("a", ()), Curve("b", ((0, 1.0), (5, 0.5)))], x_label="x", y_label="y", held=True)
        assert 'class="series-1"' in svg
        assert "series-0" not in svg
        assert svg.count('class="line held"') == 1

    def test_scatter(self) -> None:
        """Each point has one mark inside the frame, in the colour and shape of its cloud."""
        clouds = [Curve("<a>", ((0.1, -2.0), (0.3, 5.0))), Curve("b", ()), Curve("c", ((0.2, 1.0),))]
        svg = scatter_chart(clouds, x_label="x", y_label="y")
        marks = dict(re.findall(r'class="(series-\d)"><title>[^<]*</title><path class="marks" d="([^"]*)"', svg))
        assert [len(re.findall(r"M[\d.]+ [\d.]+m", marks[f"series-{index}"])) for index in range(3)] == [2, 0, 1]
        places = [float(number) for found in re.findall(r"M([\d.]+) ([\d.]+)m", svg) for number in found]
        assert all(0 <= x <= 420 and 0 <= y <= 250 for x, y in zip(places[::2], places[1::2], strict=True))
        assert shape(0) in marks["series-0"]
        assert shape(2) in marks["series-2"]
        assert "&lt;a&gt;" in svg

    @given(
        low=st.floats(-1e6, 1e6),
        width=st.floats(1e-6, 1e6),
        count=st.integers(2, 8),
    )
    def test_ticks_enclose_the_range(self, low: float, width: float, count: int) -> None:
        """Ticks ascend, enclose the range, and are neither far more nor far fewer than asked for."""
        found = ticks(low, low + width, count=count)
        slack = 1e-6 * max(1.0, abs(low), width)
        assert found == sorted(set(found))
        assert found[0] <= low + slack
        assert found[-1] >= low + width - slack
        assert 2 <= len(found) <= count + 3
