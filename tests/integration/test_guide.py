"""The guides do what they show, answer for answer."""

from __future__ import annotations

import inspect
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import chronicle
from chronicle.cli.main import run
from tests.support.guide import examples, failures
from tests.support.patience import HANG_SECONDS

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guide"


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory) -> Path:
    """A folder with the home that the guide speaks of."""
    folder = tmp_path_factory.mktemp("guide")
    capture = shared_data / "cryptofeed-ws" / "jsonl" / "KRAKEN.jsonl.zst"
    home = str(folder / "data")
    assert run(["feed", "replay", str(capture), "--format", "cryptofeed", "--home", home]) == 0
    assert run(["etl", "run", "--drain", "--home", home]) == 0
    return folder


def test_the_researchers_guide_answers_as_it_shows(folder: Path, monkeypatch) -> None:
    for library in ("pandas", "polars", "pyarrow", "duckdb"):
        pytest.importorskip(library)
    monkeypatch.chdir(folder)
    guide = GUIDES / "researcher.md"
    assert len(examples(guide).examples) > 50
    assert failures(guide) == ""


def test_the_cheatsheet_names_what_is_there() -> None:
    """Each `store.name(` of the cheatsheet is a method, with the keywords that it shows."""
    text = (GUIDES.parent / "cheatsheet.md").read_text(encoding="utf-8")
    shown = re.findall(r"store\.(\w+)\(([^`]*)\)", text)
    assert len(shown) > 15
    for name, arguments in shown:
        method = getattr(chronicle.Store, name)
        for keyword in re.findall(r"(\w+)=", re.sub(r'"[^"]*"', "", arguments)):
            assert keyword in inspect.signature(method).parameters, (name, keyword)


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder for a kernel's sockets, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="jupyter-") as made:
        yield Path(made)


def test_the_notebook_runs(folder: Path, runtime: Path, monkeypatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    from traitlets.config import Config

    monkeypatch.setenv("PYTHONPATH", str(GUIDES.parents[1]))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    sockets = {"transport": "ipc", "ip": str(runtime / "kernel")}  # a port found free may be taken when it is bound
    notebook = nbformat.read(GUIDES.parents[1] / "examples" / "researcher.ipynb", as_version=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that run it
        client = nbclient.NotebookClient(
            notebook,
            timeout=HANG_SECONDS,
            startup_timeout=HANG_SECONDS,
            iopub_timeout=HANG_SECONDS,  # by default output that comes 4 s behind its cell is lost
            resources={"metadata": {"path": str(folder)}},
            config=Config({"KernelManager": sockets}),
        )
        client.execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert len(shown) >= 7
    assert "('A', 818, 0, 0)" in str(shown)
    assert "data:image/png;base64" in str(shown)
