"""The files that the loader of OmniCellTOSG leaves in ``output_dir``, complete or not at all, and of one query only."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.errors import ExportError

if TYPE_CHECKING:
    import pandas as pd

REPORT = "report.json"
MATRIX = "expression_matrix.npy"


def query_sha256(facts: Mapping[str, Any]) -> str:
    """Hash of what was asked, by which an output folder is known."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=_plain).encode()).hexdigest()


@contextmanager
def output_folder(out: Path, query: str) -> Iterator[Path]:
    """A new folder that takes the place of ``out`` when everything is in it.

    Raises
    ------
    ExportError
        If ``out`` holds something else than an earlier answer to the same query, or cannot be written.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and _query_of(out) != query):
        raise ExportError(
            f"{out} holds the answer to another query, or something else. Name a new output_dir."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".part", dir=out.parent))
    except OSError as error:
        raise ExportError(
            f"{out.parent} cannot be written: {error.strerror}. Name another output_dir."
        ) from error
    try:
        yield part
        part.chmod(0o755)
        if out.is_dir():
            shutil.rmtree(out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _query_of(folder: Path) -> str | None:
    try:
        found = json.loads((folder / REPORT).read_text(encoding="utf-8")).get("query_sha256")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write ``report.json``."""
    text = json.dumps(report, indent=1, sort_keys=True, default=_plain)
    (folder / REPORT).write_text(f"{text}\n", encoding="utf-8")


def write_gene_choice(folder: Path, columns: Mapping[str, list[int]]) -> None:
    """Write ``bmg_to_gene_choice.csv``: all columns of a gene hold its count, so the first stands for it."""
    import pandas as pd

    rows = [
        (gene, min(own), ";".join(map(str, own)), "all columns of a gene hold the same count")
        for gene, own in columns.items()
    ]
    names = ["gene_name", "chosen_bmg_index", "candidate_bmg_indices", "choice_reason"]
    pd.DataFrame(rows, columns=names).to_csv(folder / "bmg_to_gene_choice.csv", index=False)


def write_labels(
    folder: Path,
    metadata: Mapping[str, pd.DataFrame],
    labels: Mapping[str, Any],
    mapping: Mapping[str, int],
    column: str,
) -> None:
    """Write the numbers of labels beside an extract, and what they mean."""
    import pandas as pd

    found = pd.DataFrame({"label_name": list(mapping), "label_index": list(mapping.values())})
    found.to_csv(folder / f"label_mapping_{column}.csv", index=False)
    full = [held.assign(label_index=labels[side]) for side, held in metadata.items()]
    pd.concat(full, ignore_index=True).to_csv(folder / f"labels_full_{column}.csv", index=False)
    for side, numbers in labels.items():
        np.save(folder / side / f"labels_{side}.npy", numbers)


def _plain(value: Any) -> Any:
    """What JSON has no word for."""
    if isinstance(value, set | frozenset | tuple):
        return sorted(value, key=str)
    return value.item() if hasattr(value, "item") else str(value)
