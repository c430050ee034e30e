"""The report: complete, safe whatever a study holds, and legible on a desktop and on a phone."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser

import attrs
import pytest
import yaml

from preimage.cli import compare
from preimage.errors import StorageError
from preimage.study import report
from preimage.study.findings import findings_of
from preimage.study.measures import measures_of
from preimage.study.report.gallery import marked
from preimage.study.summary import summarise

HOSTILE = """</script><script>alert(1)</script> & "quoted" 'x' <img src=http://evil.example/x onerror=alert(2)>"""
VOID = ("meta", "img", "line", "path", "circle")


class Reader(HTMLParser):
    """Reads a page: its elements with their attributes, and its texts; every element has to be closed."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open += [tag] if tag not in VOID else []

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.open[-3:])

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def having(self, tag, style=""):
        return [of for name, of in self.elements if name == tag and style in (of.get("class") or "")]


def fails_once(record):
    if (record.key.recipe, record.key.image, record.key.seed) == ("gcg", "01", 1):
        trace = f"Traceback (most recent call last):\n  File x\nValueError: {HOSTILE}"
        return attrs.evolve(
            record, status="failed", traceback=trace, measures={}, pictures={}, loss=None, trajectory=()
        )
    return record


def written(store, **options):
    return report.write(store, **options).read_text(encoding="utf-8")


class TestContents:
    def test_everything_is_there(self, planted):
        """Findings, tables, curves, scatter, gallery, failures, versions, options and recipes stand on the page."""
        store = planted.store(change=fails_once)
        summary = summarise(store)
        reader = Reader(written(store, summary=summary))
        for title in ("Findings", "Methods", "Loss and budget", "Proxy gap", "Gallery", "Failures", "Origin"):
            assert title in reader.texts
        for finding in findings_of(summary):
            assert finding.claim in reader.text
            for sentence in finding.sentences:
                assert sentence in reader.text
        for measure in summary.measures:
            assert measure.title in reader.text
        assert "4 methods on 8 pictures" in reader.texts
        assert "64 runs, 1 failed" in reader.text
        assert "miniworld:clip abcdef012345" in reader.text
        assert "torch 2.15" in reader.text
        # Eight targets, the thumbnails of all runs but one, each two.
        assert len(reader.having("img", "picture")) == 8
        assert len(reader.having("img", "thumbnail")) == 2 * 63
        assert len(reader.having("svg", "chart")) == 4

    def test_numbers_are_the_summarys(self, planted):
        """A cell holds mean and interval, the best is bold, and what is tied is shaded."""
        store = planted.store()
        summary = summarise(store)
        page = written(store, summary=summary)
        cell = summary.cells["image-similarity/shared"]["refined"]
        assert (
            f'<span class="value">{cell.interval.value:.3f}</span><span class="interval">{cell.interval.low:.3f} '
            f"\N{EN DASH} {cell.interval.high:.3f}</span>"
        ) in page
        cells = [each for of in summary.cells.values() for each in of.values()]
        reader = Reader(page)
        assert len(reader.having("td", "best")) == sum(each.best for each in cells)
        assert len(reader.having("td", "tied")) == sum(each.tied for each in cells)
        assert "the true prompts" in reader.text

    def test_it_can_be_run_again_from_what_it_says(self, planted):
        """The recipes read back as they were, and the command names them, the seeds and the measures."""
        store = planted.store(n_images=2)
        page = written(store)
        blocks = [re.sub(r"&quot;", '"', block) for block in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]
        command, *recipes = blocks
        assert command.startswith(
            "preimage compare images --recipes caption.yaml gcg.yaml random.yaml refined.yaml --seeds 2 --threads 1"
        )
        parser = argparse.ArgumentParser()
        compare.add_arguments(parser)
        words = parser.parse_args(shlex.split(command)[2:])
        assert (words.seeds, words.threads, words.measure_distances) == (2, 1, "token-f1")
        assert words.measure_held_out == "miniworld:clip-judge"
        assert [yaml.safe_load(recipe) for recipe in recipes] == list(planted.recipes.values())

    def test_few_pictures_are_hints(self, planted):
        """From three pictures no finding is certain, and the page says so."""
        reader = Reader(written(planted.store(n_images=3)))
        assert "Intervals from 3 pictures are narrower than they should be" in reader.text

    def test_failures_come_with_their_tracebacks(self, planted):
        """Which run, what was raised, and the whole traceback."""
        store = planted.store(change=fails_once)
        reader = Reader(written(store))
        assert "gcg on 01, seed 1:" in reader.text
        assert any(text.startswith("Traceback (most recent call last):") and HOSTILE in text for text in reader.texts)

    def test_no_failures_no_section(self, planted):
        """A study in which nothing failed does not speak of failures."""
        reader = Reader(written(planted.store(n_images=2)))
        assert "Failures" not in reader.texts
        assert "none failed" in reader.text

    def test_a_study_that_has_just_begun(self, planted):
        """Without a record there is a page that says so."""
        store = planted.store(n_images=3)
        store._connection.execute("DELETE FROM records")
        reader = Reader(written(store))
        assert "24 runs, of which 0 have ended" in reader.text

    def test_study_of_losses_alone(self, planted):
        """A study that measured nothing reports losses and costs."""
        store = planted.store(measures=None, n_images=3)
        reader = Reader(written(store))
        assert "nothing but loss and cost" in reader.text
        assert "Proxy gap" not in reader.texts

    def test_one_picture(self, planted):
        """From one picture no interval can be told, and the page is written all the same."""
        reader = Reader(written(planted.store(n_images=1, seeds=(0,))))
        assert "4 methods on 1 picture" in reader.texts
        assert "With 1 picture and 4 methods it can tell none from the best" in reader.text
        assert "nan" not in reader.text.lower().split()

    def test_many_pictures(self, planted):
        """The gallery of a large study shows the first of them and says so."""
        recipes = {name: planted.recipes[name] for name in ("gcg",)}
        reader = Reader(written(planted.store(n_images=43, seeds=(0,), recipes=recipes)))
        assert "The first 40 of 43 targets are shown." in reader.text
        assert len(reader.having("img", "picture")) == 40

    def test_pictures_that_are_gone(self, planted):
        """A picture that was deleted is said to be gone."""
        store = planted.store(n_images=2)
        (store.folder / "pictures" / "gcg" / "01" / "0" / "shared-1.png").unlink()
        assert "gone" in Reader(written(store)).texts


class TestSafety:
    def test_hostile_texts_are_shown_and_do_nothing(self, planted):
        """Markup in prompts, captions, tokens, versions and tracebacks appears as text and makes no element."""

        def change(record):
            return attrs.evolve(
                fails_once(record),
                text=HOSTILE,
                tokens=("a", HOSTILE, "b"),
                unstable=(1,),
                versions={HOSTILE: HOSTILE},
                models={HOSTILE: HOSTILE},
            )

        store = planted.store(change=change, caption=HOSTILE + "{}", n_images=4)
        reader = Reader(written(store))
        assert HOSTILE in reader.texts
        assert not reader.having("script")
        assert all(str(each["src"]).startswith("data:image/webp;base64,") for each in reader.having("img"))
        assert not [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]

    def test_page_asks_for_nothing(self, planted):
        """No element refers to anything outside the page, and its policy forbids it."""
        page = written(planted.store(n_images=2))
        references = [
            value
            for _, attributes in Reader(page).elements
            for name, value in attributes.items()
            if name in ("src", "href", "srcset", "action") and value
        ]
        assert references
        assert all(reference.startswith(("data:", "#")) for reference in references)
        assert "default-src 'none'" in page
        assert "url(" not in page
        assert "@import" not in page

    def test_no_room(self, planted, tmp_path):
        """A report that cannot be written is a sentence."""
        with pytest.raises(StorageError, match="The report cannot be written"):
            report.write(planted.store(n_images=2), path=tmp_path)


class TestMarks:
    def test_changed_tokens_are_marked_in_place(self):
        """Whatever white space stands between the tokens stays."""
        assert marked("red  star, blue", ("red ", "star", ",", " blue"), (1, 3)) == (
            "red  <mark>star</mark>, <mark>blue</mark>"
        )

    def test_nothing_changed(self):
        """A prompt that reads back as it is has no marks."""
        assert marked("a <b>", ("a", "<b>"), ()) == "a &lt;b&gt;"

    def test_tokens_that_are_no_text(self):
        """Parts of a character cannot be marked in place, and are listed behind the prompt."""
        assert marked("\N{SNOWMAN}", ("\ufffd", "\ufffd"), (1,)) == "\N{SNOWMAN} <mark>\ufffd</mark>"


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)

# Runs in a frame around a copy of the page, whose own policy forbids scripts.
PROBE = """<!doctype html><body style="margin:0"><iframe id="frame" style="width:{width}px;height:2000px;border:0"
src="page.html"></iframe><pre id="found"></pre><script>
frame.onload = () => {{
  const page = frame.contentDocument, seen = (element) => element.getClientRects().length > 0;
  const overflowing = [...page.querySelectorAll("body *")].filter((element) => seen(element)
    && !element.closest(".scroll, pre, svg") && element.getBoundingClientRect().right > {width} + 1);
  const clipped = [...page.querySelectorAll(".ranges tr")].filter(seen).filter((row) => {{
    const name = row.querySelector("th"), bar = row.querySelector(".range");
    return name && bar && (name.getBoundingClientRect().width < 40 || bar.getBoundingClientRect().width < 80);
  }});
  found.textContent = JSON.stringify({{
    width: page.documentElement.scrollWidth,
    overflowing: overflowing.map((element) => element.outerHTML.slice(0, 120)),
    clipped: clipped.map((element) => element.textContent),
    pictures: [...page.images].every((image) => image.complete && image.naturalWidth > 0),
    ink: getComputedStyle(page.body).color,
    paper: getComputedStyle(page.body).backgroundColor,
  }});
}};
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is on the path to show the page")
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_in_a_browser(planted, tmp_path, width, scheme):
    """Nothing is wider than a phone or a desktop, every picture is shown, bars and their names have room."""
    change = lambda record: attrs.evolve(record, text=record.text + " " + "pneumono" * 12)  # noqa: E731
    page = written(planted.store(change=change, n_images=3))
    # The probe looks into the frame, which the policy of the page and of files would forbid.
    (tmp_path / "page.html").write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page))
    (tmp_path / "probe.html").write_text(PROBE.format(width=width))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--hide-scrollbars"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={max(width, 600)},2000"]
    options += ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    command = [str(BROWSER), *options, "--virtual-time-budget=4000", "--dump-dom", (tmp_path / "probe.html").as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    (found,) = re.findall(r'<pre id="found">(.+?)</pre>', ran.stdout, re.DOTALL)
    found = json.loads(found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert found["overflowing"] == []
    assert found["width"] <= width
    assert found["clipped"] == []
    assert found["pictures"]
    levels = [sum(map(int, re.findall(r"\d+", found[name]))) for name in ("ink", "paper")]
    assert (levels[0] > levels[1]) == (scheme == "dark")


def test_measures_are_described(planted):
    """What each column is stands on the page."""
    from preimage import catalogue
    from preimage.study.measures import as_options

    store = planted.store(n_images=2)
    reader = Reader(written(store))
    for measure in measures_of(as_options(store.spec.measures), catalogue()):
        if measure.name in summarise(store).cells:
            assert f"{measure.meaning}." in reader.text
