"""The table of docs/many-machines.md is what the benchmarks' figures give."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT


def test_the_page_has_the_table_that_the_figures_give() -> None:
    script = ROOT / "benchmarks" / "many_cells.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in (ROOT / "docs" / "many-machines.md").read_text(encoding="utf-8")


def test_the_table_goes_by_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import many_cells

    given = {
        "large_bytes_per_cell": 1_000,
        "real_bytes_per_cell": 1_500,
        "bytes_per_cell": 2_000,
        "ingest_cells_per_second": 10_000,
        "peak_gb_1m": 0.5,
        "facet_seconds": 0.25,
        "one_gene_seconds": 0.5,
    }
    assert {name for name in given if many_cells.figure(name) > 0} == set(given)
    monkeypatch.setattr(many_cells, "figure", given.__getitem__)
    found = many_cells.rows(36_000_000, 2)
    assert found["store"] == ["36 GB", "54 GB", "72 GB"]
    assert found["ingest, one process"][0] == "1.0 h"
    assert found["ingest, 2 processors"][0] == "0.50 h"
    assert found["memory of these"][0] == "1 GB"
    assert found["facets of all cells, 2 processors"][0] == "9.0 s"
    assert found["one gene, all cells, 2 processors"][0] == "18.0 s"
    assert found["blocks"] == ["2,197"] * 3
