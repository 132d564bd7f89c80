"""The benchmark frame: figures, the file and the sections."""

import json

import pytest

from tools.bench import save, sections
from tools.benchmarks import Figure, timed


def test_a_figure_is_the_median_and_the_range():
    assert Figure.of([3.0, 1.0, 9.0], "ms") == Figure(3.0, "ms", 1.0, 9.0, 3)
    assert Figure.exact(1.5, "B/B") == Figure(1.5, "B/B", 1.5, 1.5, 1)


def test_time_is_measured_in_five_runs_or_more():
    calls = []
    assert timed(lambda: calls.append(1), runs=5).runs == 5
    assert len(calls) == 6
    with pytest.raises(ValueError, match="4 runs"):
        timed(lambda: None, runs=4)


def test_the_file_has_value_and_unit_and_keeps_other_sections_on_merging(tmp_path):
    path = tmp_path / "build" / "bench.json"
    save({"a": {"x": Figure.exact(1, "B")}, "b": {"y": Figure.exact(2, "ms")}}, path, merge=True)
    save({"a": {"x": Figure.exact(3, "B")}}, path, merge=True)
    assert json.loads(path.read_text()) == {
        "a": {"x": {"value": 3, "unit": "B"}},
        "b": {"y": {"value": 2, "unit": "ms"}},
    }
    save({"a": {"x": Figure.exact(4, "B")}}, path, merge=False)
    assert json.loads(path.read_text()) == {"a": {"x": {"value": 4, "unit": "B"}}}


def test_every_benchmark_module_is_a_section_with_figures():
    assert "vm" in sections()
    figures = sections()["vm"].run()
    assert {"exec_ms", "fork_ms"} <= set(figures)
    assert all(0 < figure.low <= figure.value <= figure.high for figure in figures.values())
