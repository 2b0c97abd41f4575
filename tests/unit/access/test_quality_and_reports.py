"""Quality: latencies, grades and ranges against plain counting; reports are whole pages of well-formed SVG."""

from __future__ import annotations

import base64
import io
import random
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import numpy as np
import pytest

import chronicle
from chronicle.access.pages import charts
from chronicle.access.trust.quality import Latency
from chronicle.cli.main import run
from chronicle.core.errors import ConfigError, NotFoundError, RangeError
from chronicle.core.layout import Cause, Verdict
from tests.support.home_builder import CleanQueue, definition

START = 1_700_000_000_000_000_000
SECOND = 10**9
SYMBOL = "kraken:BTC-EUR"


def written(home: Path, *, gap_at: int = 0, failed: int = 0, steps: int = 500) -> CleanQueue:
    book = CleanQueue(home, SYMBOL, fields=definition(check_rule=1))
    book.venue_snapshot(START, [(9990 - n, 3 + n) for n in range(5)], [(10010 + n, 4) for n in range(5)])
    for step in range(1, steps):
        ts = START + step * SECOND // 5
        verdict = Verdict.FAILED if step <= failed else Verdict.PASSED
        book.deltas(ts, ("bid", 9980 + step % 10, 1 + step % 5), check=verdict)
        if step == gap_at:
            book.gap_open(ts + 1, ts, Cause.SEQUENCE)
            book.gap_closed(ts + SECOND // 100, ts)
            book.venue_snapshot(ts + SECOND // 100, [(9990, 3)], [(10010, 4)])
    return book


@pytest.mark.parametrize(
    ("options", "grade"),
    [({}, "A"), ({"gap_at": 7}, "B"), ({"failed": 2}, "C"), ({"failed": 50}, "D"), ({"steps": 1}, "A")],
)
def test_grades(tmp_path: Path, options: dict[str, int], grade: str) -> None:
    written(tmp_path, **options).close()
    with chronicle.open(tmp_path) as store:
        quality = store.quality(SYMBOL)
        assert quality.grade == grade
        assert quality.to_dict()["grade"] == grade
        assert quality.gap_ns == (SECOND // 100 if "gap_at" in options else 0)
        empty = store.quality(SYMBOL, START - 10, START - 5)
        assert (empty.grade, empty.events) == ("none", 0)


def test_an_open_gap_is_grade_d(tmp_path: Path) -> None:
    book = written(tmp_path)
    book.gap_open(START + 10**6 * SECOND, START)
    book.close()
    with chronicle.open(tmp_path) as store:
        assert store.quality(SYMBOL).grade == "D"


def test_a_range_counts_what_lies_in_it(tmp_path: Path) -> None:
    written(tmp_path).close()
    with chronicle.open(tmp_path) as store:
        quality = store.quality(SYMBOL, START + 10 * SECOND, START + 20 * SECOND)
        assert quality.records == {"book_delta": 50, "check": 50}
        assert quality.events == quality.latency.events == 50
        assert quality.latency.quantile_ns(0.5) == 5
        assert (quality.latency.least_ns, quality.latency.most_ns) == (5, 5)


def test_latency_quantiles_are_right_to_a_twentieth() -> None:
    rng = random.Random(2)
    taken = [int(rng.lognormvariate(16, 2)) for _ in range(3_000)] + [-rng.randrange(1, 10**7) for _ in range(1_000)]
    latency = Latency()
    sent = START + np.arange(len(taken))
    for part in range(0, len(taken), 700):
        latency.add(sent[part : part + 700] + np.array(taken[part : part + 700]), sent[part : part + 700])
    latency.add(np.array([START]), np.array([-1]))
    ordered = sorted(taken)
    assert (latency.events, latency.negative) == (4_000, 1_000)
    assert (latency.least_ns, latency.most_ns) == (ordered[0], ordered[-1])
    for share in (0.01, 0.2, 0.3, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = ordered[max(0, int(share * 4_000) - 1)]
        assert latency.quantile_ns(share) == pytest.approx(exact, rel=0.05, abs=1_000)
    assert Latency().quantile_ns(0.5) is None


@pytest.mark.parametrize("what", ["quality_html", "plot_html"])
def test_pages_are_whole_and_well_formed(tmp_path: Path, what: str) -> None:
    written(tmp_path, gap_at=100).close()
    with chronicle.open(tmp_path) as store:
        page = getattr(store, what)("kraken:xbt/eur")
        narrow = getattr(store, what)(SYMBOL, START + 19 * SECOND, START + 21 * SECOND)
        with pytest.raises(RangeError, match="lies in this range"):
            getattr(store, what)(SYMBOL, START - 100, START - 50)
        with pytest.raises(NotFoundError):
            getattr(store, what)("kraken:NO-PE")
    for text in (page, narrow):
        pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
        assert len(pictures) >= 4
        for picture in pictures:
            ET.fromstring(picture)
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "nan" not in text.lower().replace("nanosecond", "")
    assert "#d1495b" in narrow  # the gap is marked


def test_a_heat_map_is_the_picture_of_its_cells() -> None:
    cells = np.zeros((3, 5))
    cells[0, 1], cells[2, 4] = 1.0, -1.0
    text = charts.heat("heat", ["a", "b"], 1, 3, cells)
    png = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    assert struct.unpack(">II", png[16:24]) == (5, 3)
    body = png.index(b"IDAT")
    size = struct.unpack(">I", png[body - 4 : body])[0]
    rows = np.frombuffer(zlib.decompress(png[body + 4 : body + 4 + size]), dtype=np.uint8).reshape(3, 16)[:, 1:]
    assert rows.reshape(3, 5, 3)[2, 1].tolist() == [42, 125, 225]  # the first row of cells is drawn at the bottom
    assert rows.reshape(3, 5, 3)[0, 4].tolist() == [209, 73, 91]
    assert rows.reshape(3, 5, 3)[1, 1].tolist() == [255, 255, 255]


def test_lines_break_where_nothing_is_known_and_empty_charts_say_so() -> None:
    text = charts.lines("a <b>", ["x", "y"], {"one": np.array([1.0, 2.0, np.nan, 3.0])})
    assert text.count("<polyline") == 2
    assert "a &lt;b&gt;" in text
    for empty in (charts.lines("t", ["x"], {"a": np.array([np.nan])}), charts.bars("t", [], [])):
        assert "nothing to draw" in empty


def test_a_plot_is_an_image_where_it_is_asked_for(tmp_path: Path, capsys) -> None:
    image = pytest.importorskip("matplotlib.image")
    home = tmp_path / "home"
    written(home, gap_at=100).close()
    with chronicle.open(home) as store:
        small, large = (store.plot_png(SYMBOL, dpi=dpi) for dpi in (50, 100))
        for dpi in (29, 601):
            with pytest.raises(ConfigError, match="dots an inch"):
                store.plot_png(SYMBOL, dpi=dpi)
        with pytest.raises(RangeError, match="lies in this range"):
            store.plot_png(SYMBOL, START - 100, START - 50)
        narrow = store.plot_png(SYMBOL, START, START + 1)
    sizes = [image.imread(io.BytesIO(data)).shape[:2] for data in (small, large, narrow)]
    assert sizes == [(425, 550), (850, 1100), (1020, 1320)]
    pixels = image.imread(io.BytesIO(large))
    colours = {tuple((pixel * 255).round().astype(int)) for pixel in pixels[:, :, :3].reshape(-1, 3)}
    assert {(42, 125, 225), (209, 73, 91)} <= colours  # both best prices are drawn
    assert run(["plot", SYMBOL, "-o", str(tmp_path / "x.png"), "--dpi", "60", "--home", str(home)]) == 0
    assert image.imread(tmp_path / "x.png").shape[:2] == (510, 660)
    assert run(["plot", SYMBOL, "-o", str(tmp_path / "x.pdf"), "--home", str(home)]) == 2
    assert "FILE.png" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "x.png"]


def test_the_command_line_writes_whole_files(tmp_path: Path, capsys) -> None:
    home = tmp_path / "home"
    written(home).close()
    for arguments in (["quality", SYMBOL, "--html"], ["plot", SYMBOL, "-o"]):
        target = tmp_path / f"{arguments[0]}.html"
        assert run([*arguments, str(target), "--home", str(home)]) == 0
        assert target.read_text().endswith("</html>\n")
        assert run([*arguments, str(tmp_path / "no" / "x.html"), "--home", str(home)]) == 10
    assert run(["quality", "--html", str(tmp_path / "x.html"), "--home", str(home)]) == 2
    assert run(["quality", "--home", str(home)]) == 0
    assert "latency p50" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "plot.html", "quality.html"]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 46, [0, 10, 20, 30, 40]),
        (62977.7, 62991.7, [62980, 62985, 62990]),
        (0.3, 7, [2, 4, 6]),
        (0.04285, 0.04304, [0.04285, 0.0429, 0.04295, 0.043]),
        (-1e-9, 1e-9, [-1e-9, -5e-10, 0, 5e-10, 1e-9]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    from chronicle.access.pages.charts import round_ticks

    assert round_ticks(low, high) == pytest.approx(ticks, rel=1e-12, abs=1e-15)
