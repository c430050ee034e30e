"""``preimage invert``: what it prints and writes, and one sentence for everything that cannot be."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

pytest.importorskip("preimage_miniworld")
pytest.importorskip("preimage_objectives")

from rich.console import Console

from preimage import Budget, Catalogue, Component, Pipeline, Result, Stage, Term, catalogue
from preimage.cli import Parser, main
from preimage.cli._options import add_pipeline_arguments, pipeline_from
from preimage.cli.progress import Progress
from preimage.cli.results import printable
from preimage_miniworld.data import demo_scenes
from preimage_objectives.similarity import ClipSimilarity

MODEL = ("--model", "miniworld:clip")
QUICK = (*MODEL, "-o", "search_width=16")

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The three demo pictures as files."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, (_, picture, _) in enumerate(demo_scenes()):
        paths.append(str(folder / f"{number}.png"))
        picture.save(paths[-1])
    return paths


@pytest.fixture
def picture(pictures: list[str]) -> str:
    return pictures[0]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``preimage invert`` in this process; give the exit code and what it printed."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["invert", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@attrs.frozen
class NoOptions:
    """A config without options."""


class ValuesOnly:
    """CLIP similarity without its gradient."""

    def __init__(self, config: NoOptions, *, model: Any, targets: Any) -> None:
        self._whole = ClipSimilarity(config, model=model, targets=targets)  # type: ignore[arg-type]

    @property
    def space(self) -> Any:
        return self._whole.space

    @property
    def n_targets(self) -> int:
        return self._whole.n_targets

    def loss(self, candidates: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self._whole.loss(candidates, target)


class NotANumber(ValuesOnly):
    """An objective that overflows."""

    def loss(self, candidates: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return super().loss(candidates, target) * torch.nan


class Greedy(ValuesOnly):
    """An objective for whose batches memory suffices up to `fits` rows."""

    fits = 5

    def loss(self, candidates: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if len(candidates) > self.fits:
            message = f"tried to allocate memory for {len(candidates)} rows"
            raise torch.OutOfMemoryError(message)
        return super().loss(candidates, target)


class Insatiable(Greedy):
    """An objective for which memory never suffices."""

    fits = 0


@pytest.fixture
def objectives() -> Iterator[None]:
    """Register the objectives above as ``values-only``, ``nan``, ``greedy`` and ``insatiable``."""
    classes = {"values-only": ValuesOnly, "nan": NotANumber, "greedy": Greedy, "insatiable": Insatiable}
    registered = [
        catalogue().register(
            "objective",
            Component(
                name=name,
                target=f"{__name__}:{cls.__name__}",
                config=f"{__name__}:NoOptions",
                api="1.0",
                summary="For tests.",
                traits=("space:text", "role:image-text-encoder", "target:image"),
            ),
            origin="tests",
        )
        for name, cls in classes.items()
    ]
    yield
    for registration in registered:
        registration.unregister()


def png(path: Path, width: int, height: int) -> Path:
    """Write a real black PNG of one bit a pixel, line by line, so that a huge one costs no memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    line = bytes(1 + (width + 7) // 8)
    data = b"".join([*(packer.compress(line) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


def is_one_sentence(error: str) -> bool:
    return error.startswith("preimage: ") and error.count("\n") == 1 and "Traceback" not in error


class TestResults:
    def test_for_people(self, call: Call, picture: str) -> None:
        """Prompt, loss, similarity, cost, stop reason and seed; plain text without colours in a pipe."""
        code, out, err = call(picture, *QUICK, "--num-steps", 3, "--seed", 5)
        assert code == 0
        lines = out.splitlines()
        assert lines[0] == picture
        assert lines[1].strip()
        assert re.search(r"^  loss +0\.\d{4}$", out, re.MULTILINE)
        assert re.search(r"^  similarity +0\.\d{4}  clip-similarity", out, re.MULTILINE)
        assert re.search(r"^  cost +3 steps, 51 candidates, \d+ forward and 3 backward", out, re.MULTILINE)
        assert re.search(r"^  stopped +the steps are used up", out, re.MULTILINE)
        assert re.search(r"^  seed +5$", out, re.MULTILINE)
        assert "\x1b" not in out
        assert err == ""

    def test_json_is_a_result(self, call: Call, picture: str) -> None:
        """For one picture the JSON is what `Result.from_json` reads, and nothing else is on stdout."""
        code, out, _ = call(picture, *QUICK, "--num-steps", 2, "--json")
        assert code == 0
        result = Result.from_json(out)
        assert result.target.name == picture
        assert result.provenance.recipe["stages"][0]["budget"] == {"num_steps": 2}

    def test_json_of_several_is_a_list(self, call: Call, pictures: list[str]) -> None:
        """Several pictures give a list in their order, each with its own prompt."""
        code, out, _ = call(*pictures, *QUICK, "--num-steps", 2, "--json")
        assert code == 0
        results = [Result.from_dict(data) for data in json.loads(out)]
        assert [result.target.name for result in results] == pictures

    def test_files(self, call: Call, picture: str, tmp_path: Path) -> None:
        """The JSON file holds the printed result and the page its prompt; folders are made."""
        output, html = tmp_path / "new" / "result.json", tmp_path / "other" / "page.html"
        code, out, err = call(picture, *QUICK, "--num-steps", 2, "--json", "--output", output, "--html", html)
        assert code == 0
        assert json.loads(output.read_text()) == json.loads(out)
        assert "<svg" in html.read_text()
        assert str(html) in err

    def test_a_name_that_is_not_utf_8(self, call: Call, picture: str, tmp_path: Path) -> None:
        """What is found for a picture of any name can be written and printed."""
        odd, output = tmp_path / os.fsdecode(b"caf\xe9.png"), tmp_path / "result.json"
        shutil.copy(picture, odd)
        for arguments in (["--json"], []):
            assert call(odd, *QUICK, "--num-steps", 1, "--output", output, *arguments)[0] == 0
            assert Result.load(output).target.name == str(odd)

    def test_python_gives_the_same(self, call: Call, picture: str) -> None:
        """The command is the pipeline that Python would have built."""
        _, out, _ = call(picture, *QUICK, "--num-steps", 2, "--json", "--template", "a photo of {optim_str}")
        pipeline = Pipeline(
            stages=[Stage(optimizer="gcg", budget=Budget(num_steps=2), options={"search_width": 16})],
            terms=[Term(objective="clip-similarity", model="miniworld:clip", template="a photo of {optim_str}")],
        )
        (result,) = pipeline.run([Path(picture)])
        assert Result.from_json(out).text == result.text
        assert Result.from_json(out).loss == result.loss

    def test_options_arrive(self, call: Call, picture: str) -> None:
        """Every option that shapes the search is in the recipe of the result."""
        arguments = ["--banned-word", "circle", "--allowed-word", "star", "--allowed-word", "red", "--allow-non-ascii"]
        arguments += ["--objective", "clip-similarity:weight=2,template=a, b {optim_str}", "--objective"]
        arguments += ["clip-similarity", "--batch-size", "7", "--dtype", "float32", "--device", "cpu"]
        limits = ["--max-candidates", "40", "--max-seconds", "60", "--patience", "30", "--target-loss", "0.001"]
        code, out, _ = call(picture, *QUICK, *arguments, *limits, "--json")
        assert code == 0
        recipe = json.loads(out)["provenance"]["recipe"]
        (stage,), terms = recipe["stages"], recipe["terms"]
        assert stage["budget"] == {"max_candidates": 40, "max_seconds": 60, "patience": 30, "target_loss": 0.001}
        assert [term.get("weight", 1.0) for term in terms] == [2.0, 1.0]
        assert terms[0]["template"] == "a, b {optim_str}"
        assert set(recipe["constraints"]["allowed_words"]) == {"star", "red"}
        assert recipe["constraints"]["allow_non_ascii"] is True
        assert (recipe["batch_size"], recipe["device"]) == (7, "cpu")
        assert set(json.loads(out)["text"].split()) <= {"star", "red"}

    def test_stages(self, call: Call, picture: str) -> None:
        """'a -> b' runs b from a's best; options and limits reach the stage they are meant for."""
        stages = ["--optimizer", "random-search -> gcg", "-o", "2.topk=8", "-o", "search_width=8"]
        code, out, _ = call(picture, *MODEL, *stages, "-o", "random-search.ball=l0", "--num-steps", "3,2", "--json")
        assert code == 0
        result = Result.from_json(out)
        assert [(point.stage, point.step) for point in result.trajectory] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]
        first, second = result.provenance.recipe["stages"]
        assert first["options"] == {"search_width": "8", "ball": "l0"}
        assert second["options"] == {"topk": "8", "search_width": "8"}

    def test_recipe_gives_the_same(self, call: Call, picture: str, tmp_path: Path) -> None:
        """The recipe in a result, as a YAML file, finds the same prompt again."""
        import yaml

        _, out, _ = call(picture, *QUICK, "--num-steps", 3, "--seed", 3, "--json")
        first = Result.from_json(out)
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(first.provenance.recipe))
        _, out, _ = call(picture, "--recipe", recipe, "--seed", 3, "--json")
        assert (Result.from_json(out).text, Result.from_json(out).loss) == (first.text, first.loss)
        _, out, _ = call(picture, "--recipe", recipe, "--num-steps", 1, "--json")
        assert len(Result.from_json(out).trajectory) == 1

    @pytest.mark.parametrize(
        ("arguments", "budget"),
        [
            (["--patience", "2"], Budget(num_steps=9, max_seconds=60, patience=2)),
            (["--target-loss", "0.1"], Budget(num_steps=9, max_seconds=60, patience=5, target_loss=0.1)),
            (["--max-candidates", "30"], Budget(max_candidates=30)),
            (["--max-candidates", "30", "--patience", "2"], Budget(max_candidates=30, patience=2)),
            ([], Budget(num_steps=9, max_seconds=60, patience=5)),
        ],
    )
    def test_limits_beside_a_recipe(self, tmp_path: Path, arguments: list[str], budget: Budget) -> None:
        """One that ends the search takes the place of the recipe's; patience and target loss only shorten it."""
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(
            '[[stages]]\noptimizer = "gcg"\nbudget = { num_steps = 9, max_seconds = 60, patience = 5 }\n'
            '[[terms]]\nobjective = "clip-similarity"\nmodel = "miniworld:clip"\n'
        )
        parser = Parser()
        add_pipeline_arguments(parser)
        pipeline = pipeline_from(parser.parse_args(["--recipe", str(recipe), *arguments]), {})
        assert pipeline.stages[0].budget == budget

    def test_control_letters_are_escaped(self) -> None:
        """Nothing that a terminal would act on is printed as it is."""
        assert printable("a\x1b[2Jb\u202ec\nd é") == "a\\x1b[2Jb\\u202ec\\nd é"


class TestBadPictures:
    def test_not_a_picture(self, call: Call, tmp_path: Path) -> None:
        """A text file is refused by name."""
        path = tmp_path / "notes.png"
        path.write_text("no picture")
        code, out, err = call(path, *MODEL)
        assert (code, out) == (2, "")
        assert is_one_sentence(err)
        assert "notes.png is not a picture" in err

    def test_truncated(self, call: Call, picture: str, tmp_path: Path) -> None:
        """A download that broke off is called truncated."""
        path = tmp_path / "half.png"
        data = Path(picture).read_bytes()
        path.write_bytes(data[: len(data) // 2])
        code, out, err = call(path, *MODEL)
        assert (code, out) == (2, "")
        assert is_one_sentence(err)
        assert "truncated" in err

    def test_huge(self, call: Call, tmp_path: Path) -> None:
        """A picture of 30,000 x 30,000 pixels is refused before it is unpacked."""
        path = png(tmp_path / "huge.png", 30_000, 30_000)
        assert path.stat().st_size < 2_000_000
        code, out, err = call(path, *MODEL)
        assert (code, out) == (2, "")
        assert is_one_sentence(err)
        assert "too large" in err

    def test_missing(self, call: Call, tmp_path: Path) -> None:
        """A file that is not there is named, whatever its name looks like."""
        for name in ("gone.png", "gone"):
            code, out, err = call(tmp_path / name, *MODEL)
            assert (code, out) == (2, "")
            assert is_one_sentence(err)
            assert "No such file" in err

    def test_folder(self, call: Call, tmp_path: Path) -> None:
        """A folder is no picture, and the message says what to give."""
        code, out, err = call(tmp_path, *MODEL)
        assert (code, out) == (2, "")
        assert is_one_sentence(err)
        assert f"{tmp_path} is a folder: give the pictures in it" in err

    def test_in_a_process_of_its_own(self, tmp_path: Path) -> None:
        """The installed command ends with the sentence and the exit code, too."""
        command = [sys.executable, "-m", "preimage.cli", "invert", str(tmp_path / "gone.png"), *MODEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert is_one_sentence(done.stderr)


class TestBadOptions:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--num-steps", "0"], "num_steps=0 allows nothing"),
            (["--max-candidates=-5"], "max_candidates=-5 allows nothing"),
            (["--max-seconds", "nan"], "max_seconds=nan allows nothing"),
            (["--num-steps", "many"], "'many' is not a whole number"),
            (["--num-steps", "5,5"], "--num-steps has 2 numbers and the search 1 stage"),
            (["--optimizer", "gcc"], "There is no optimizer 'gcc'. Did you mean 'gcg'?"),
            (["--optimizer", "gcg ->"], "names no optimizer"),
            (["--objective", "clip-similarty"], "There is no objective 'clip-similarty'. Did you mean"),
            (["--objective", "clip-similarity:weight=heavy"], "'heavy', which is not a number"),
            (["--objective", "clip-similarity:heavy"], "not of the form key=value"),
            (["--objective", "clip-similarity:wait=2"], "has no option 'wait'"),
            (["-o", "top_k=64"], "has no option 'top_k'. Did you mean 'topk'?"),
            (["-o", "topk=few"], "cannot take topk='few'"),
            (["-o", "topk=0"], "cannot take topk=0"),
            (["-o", "topk"], "not of the form name=value"),
            (["-o", "pez.topk=3"], "is for the stage 'pez'"),
            (["--model", "miniworld:clp"], "no model 'clp'. Did you mean 'clip' or 'blip2'?"),
            (["--model", "miniwrld:clip"], "There is no model 'miniwrld'. Did you mean 'miniworld'?"),
            (["--model", "clip"], "There is no model 'clip'. Did you mean 'open_clip'?"),
            (["--model", "open_clip:./nowhere"], "no folder 'nowhere'"),
            (["--template", "a picture"], "has no slot"),
            (["--template", "word " * 60 + "{optim_str}"], "room for"),
            (["-o", "optim_str_init=" + "star " * 60], "60 tokens, but miniworld:clip has room for"),
            (["-o", "optim_str_init="], "has no token"),
            (["-o", "prompt_length=1000"], "1000 tokens, but miniworld:clip has room for"),
            (["--allowed-word", "star", "--banned-word", "star"], "No token of miniworld:clip is left"),
            (["--device", "abacus"], "The device 'abacus' cannot be used here"),
            (["--dtype", "float128"], "float128"),
            (["--batch-size", "0"], "not a whole number above 0"),
            (["--seed", "x"], "--seed"),
            (["--no-such-option"], "--no-such-option"),
            (["--resume"], "add --checkpoint FILE"),
            (["--recipe", "nowhere.yaml"], "nowhere.yaml cannot be read"),
            (["--recipe", "nowhere.yaml", "-o", "topk=3"], "--recipe describes the search, and so does"),
        ],
    )
    def test_one_sentence(self, call: Call, picture: str, arguments: list[str], expected: str) -> None:
        """Each gives exit code 2 and one sentence that says what is wrong."""
        model = [] if "--model" in arguments or "--recipe" in arguments else MODEL
        code, out, err = call(picture, *model, *arguments)
        assert (code, out) == (2, "")
        assert is_one_sentence(err)
        assert expected in err

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("a.yaml", "stages: [", "cannot be understood"),
            ("a.toml", "stages = ", "cannot be understood"),
            ("a.json", "{}", "not in .yaml, .yml or .toml"),
            ("a.yaml", "- 1", "must hold 'stages' and 'terms'"),
            ("a.yaml", "terms: []", "'stages' is None"),
            ("a.yaml", "stages: [{optimizer: gcg, bugdet: {}}]\nterms: [{objective: x}]", "Did you mean 'budget'?"),
            ("a.yaml", "stages: [{optimizer: gcg}]\nterms: [{objective: x}]", "lacks budget"),
            ("a.yaml", "stages: [{optimizer: gcg, budget: {}}]\nterms: [{objective: x}]", "no limit"),
            ("a.yaml", "stages: [{optimizer: gcg, budget: {num_steps: soon}}]\nterms: [{objective: x}]", "soon"),
            ("a.yaml", "stages: [{optimizer: 3, budget: {num_steps: 1}}]\nterms: [{objective: x}]", "optimizer 3"),
        ],
    )
    def test_broken_recipe(self, call: Call, picture: str, tmp_path: Path, name: str, text: str, expected: str) -> None:
        """A recipe that is no recipe is refused with what is wrong in it."""
        recipe = tmp_path / name
        recipe.write_text(text)
        code, out, err = call(picture, "--recipe", recipe)
        assert (code, out) == (2, "")
        assert is_one_sentence(err)
        assert expected in err

    def test_no_picture(self, call: Call) -> None:
        """Without a picture the usage is wrong."""
        code, _, err = call(*MODEL)
        assert code == 2
        assert "PICTURE" in err

    def test_files_that_cannot_be_written(self, call: Call, picture: str, tmp_path: Path) -> None:
        """What could not be written is said before the search, not after it."""
        (tmp_path / "file").write_text("")
        for path in (tmp_path, tmp_path / "file" / "below"):
            for option in ("--output", "--html"):
                code, out, err = call(picture, *MODEL, option, path)
                assert (code, out) == (2, "")
                assert is_one_sentence(err)
                assert "cannot be written" in err


@pytest.mark.usefixtures("objectives")
class TestObjectivesInTrouble:
    def test_gradient_is_missing(self, call: Call, picture: str) -> None:
        """An optimizer that lacks what it needs names those that would do."""
        code, out, err = call(picture, *MODEL, "--objective", "values-only")
        assert (code, out) == (2, "")
        assert is_one_sentence(err)
        assert "gcg needs gradients" in err
        assert re.search(r"use .*\brandom-search\b", err)
        assert "prune" not in err  # it needs a start, so it is no way out
        code, _, _ = call(
            picture, *QUICK, "--objective", "values-only", "--optimizer", "random-search", "--num-steps", 1
        )
        assert code == 0

    def test_not_a_number(self, call: Call, picture: str) -> None:
        """A loss that is no number ends the search with exit code 1."""
        code, out, err = call(picture, *MODEL, "--objective", "nan", "--optimizer", "random-search")
        assert (code, out) == (1, "")
        assert is_one_sentence(err)
        assert "answered nan" in err

    def test_out_of_memory_halves_and_goes_on(self, call: Call, picture: str) -> None:
        """Where a batch does not fit, smaller ones give the result of the whole."""
        common = (picture, *QUICK, "--optimizer", "random-search", "--num-steps", 3, "--json")
        code, out, _ = call(*common, "--objective", "greedy")
        assert code == 0
        _, whole, _ = call(*common, "--objective", "values-only")
        assert Result.from_json(out).text == Result.from_json(whole).text
        assert Result.from_json(out).loss == pytest.approx(Result.from_json(whole).loss, abs=1e-6)

    def test_not_even_one_fits(self, call: Call, picture: str) -> None:
        """Where not even one candidate fits, that is said with exit code 1."""
        code, out, err = call(picture, *MODEL, "--objective", "insatiable", "--optimizer", "random-search")
        assert (code, out) == (1, "")
        assert is_one_sentence(err)
        assert "Not even one candidate" in err


class TestCheckpoint:
    @pytest.mark.parametrize("optimizer", ["gcg", "random-search", "random-search -> gcg"])
    def test_resumed_equals_uninterrupted(
        self, call: Call, pictures: list[str], tmp_path: Path, optimizer: str
    ) -> None:
        """Five steps, and then on to ten, give what ten steps give: the same prompts and losses."""
        common = [*pictures[:2], *QUICK, "--optimizer", optimizer, "--json", "--seed", "4"]
        file = tmp_path / "run"
        assert call(*common, "--num-steps", 5, "--checkpoint", file)[0] == 0
        code, resumed, _ = call(*common, "--num-steps", 10, "--checkpoint", file, "--resume")
        assert code == 0
        _, whole, _ = call(*common, "--num-steps", 10)
        for left, right in zip(json.loads(resumed), json.loads(whole), strict=True):
            if "->" not in optimizer:
                assert left["text"] == right["text"]
                assert left["loss"] == right["loss"]
                assert [p["best_text"] for p in left["trajectory"]] == [p["best_text"] for p in right["trajectory"]]
            assert len(left["trajectory"]) >= 10

    def test_nothing_is_overwritten_by_mistake(self, call: Call, picture: str, tmp_path: Path) -> None:
        """A saved run is not replaced unless it is gone on from."""
        file = tmp_path / "run"
        assert call(picture, *QUICK, "--num-steps", 1, "--checkpoint", file)[0] == 0
        before = file.read_bytes()
        code, _, err = call(picture, *QUICK, "--num-steps", 1, "--checkpoint", file)
        assert code == 2
        assert is_one_sentence(err)
        assert "add --resume" in err
        assert file.read_bytes() == before

    def test_of_another_run(self, call: Call, picture: str, tmp_path: Path) -> None:
        """A checkpoint of other options or of no run at all is refused."""
        file = tmp_path / "run"
        assert call(picture, *QUICK, "--num-steps", 1, "--checkpoint", file)[0] == 0
        code, _, err = call(picture, *QUICK, "--seed", 9, "--num-steps", 2, "--checkpoint", file, "--resume")
        assert code == 2
        assert is_one_sentence(err)
        assert "other options" in err
        file.write_text("something else")
        code, _, err = call(picture, *QUICK, "--num-steps", 2, "--checkpoint", file, "--resume")
        assert code == 2
        assert is_one_sentence(err)


class TestInterruption:
    def test_best_is_kept(self, call: Call, picture: str, tmp_path: Path) -> None:
        """Ctrl-C prints the best prompt with exit code 130, and the run goes on from its checkpoint as if unbroken."""
        file = tmp_path / "run"
        command = [sys.executable, "-m", "preimage.cli", "invert", picture, *QUICK, "--num-steps", "100000"]
        with subprocess.Popen(
            [*command, "--checkpoint", str(file), "--json", "--progress"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            # A shell that starts the tests in its background hands down that Ctrl-C is to be ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            try:
                assert process.stderr is not None
                assert "step 1" in process.stderr.readline()
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=120)
            finally:
                process.kill()
        assert process.returncode == 130
        assert "Traceback" not in err
        stopped = Result.from_json(out)
        assert stopped.stop_reason == "interrupted"

        steps = max(point.step for point in stopped.trajectory) + 5
        common = (picture, *QUICK, "--num-steps", steps, "--json")
        code, resumed, _ = call(*common, "--checkpoint", file, "--resume")
        assert code == 0
        _, whole, _ = call(*common)
        assert Result.from_json(resumed).text == Result.from_json(whole).text

    def test_before_there_is_anything(
        self, call: Call, picture: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Ctrl-C while the model is loaded ends with exit code 130 and a word about it."""

        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("preimage._catalogue.Catalogue.load_model", interrupted)
        code, out, err = call(picture, *QUICK)
        assert (code, out) == (130, "")
        assert is_one_sentence(err)


class TestProgress:
    def test_lines_where_forced(self, call: Call, picture: str) -> None:
        """In a pipe nothing is shown unless asked for, and then lines with the best prompt so far."""
        assert call(picture, *QUICK, "--num-steps", 2)[2] == ""
        err = call(picture, *QUICK, "--num-steps", 2, "--progress")[2]
        assert re.search(r"gcg: 100%, step 2/2, [\d,]+ candidates/s, 0 running, best 0\.\d{4} '", err)
        assert call(picture, *QUICK, "--num-steps", 2, "--progress", "--quiet")[2] == ""

    def test_bars_on_a_terminal(self, pictures: list[str]) -> None:
        """On a terminal: a bar for the pictures, one for the steps, and the prompts with their losses."""
        pipeline = Pipeline(
            stages=[
                Stage(optimizer="random-search", budget=Budget(max_candidates=20), options={"search_width": 8}),
                Stage(optimizer="gcg", budget=Budget(num_steps=2), options={"search_width": 8}),
            ],
            terms=[Term(objective="clip-similarity", model="miniworld:clip")],
        )
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=120)
        with Progress(pipeline, pictures, console=console) as progress:
            results = pipeline.run(pictures, listeners=progress.listeners)
        shown = screen.getvalue()
        for expected in ("pictures", "3/3 done", "gcg (2/2)", "2/2 steps", "candidates/s"):
            assert expected in shown
        assert all(result.text in shown for result in results)

    def test_markup_in_prompts_is_text(self) -> None:
        """A prompt that looks like markup is shown letter by letter."""
        from preimage.api import Spent
        from preimage.api.events import StepEvent

        stage = Stage(optimizer="gcg", budget=Budget(num_steps=2))
        pipeline = Pipeline(stages=[stage], terms=[Term(objective="x")])
        for terminal in (True, False):
            screen = io.StringIO()
            console = Console(file=screen, force_terminal=terminal, width=120, no_color=True)
            with Progress(pipeline, ["a"], console=console, forced=True) as progress:
                (listen,) = progress.listeners
                listen(StepEvent(1, (0.5,), (0.5,), ("[red]x[/] \x1b[2J",), (Spent(candidates=5),), 1))
            assert "[red]x[/] \\x1b[2J" in screen.getvalue().replace("\\\\", "\\")


class TestSettings:
    def test_defaults(self, call: Call, picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Model and optimizer come from preimage.toml where they are not given."""
        settings = '[defaults]\nmodel = "miniworld:clip"\noptimizer = "random-search"\n'
        (tmp_path / "preimage.toml").write_text(settings)
        monkeypatch.chdir(tmp_path)
        # As in a new process, where the file is read when the first thing is looked up.
        monkeypatch.setattr("preimage._catalogue._of_process", functools.cache(Catalogue))
        code, out, _ = call(picture, "--num-steps", 1, "--json")
        assert code == 0
        recipe = json.loads(out)["provenance"]["recipe"]
        assert recipe["stages"][0]["optimizer"] == "random-search"
        assert recipe["terms"][0]["model"] == "miniworld:clip"

        (tmp_path / "preimage.toml").write_text(settings.replace("random-search", "random-search -> "))
        monkeypatch.setattr("preimage._catalogue._of_process", functools.cache(Catalogue))
        code, _, err = call(picture)
        assert code == 2
        assert "'random-search -> ' names no optimizer" in err
