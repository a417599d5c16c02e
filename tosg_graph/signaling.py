"""`signal`: compare two groups of cells of a bundle, from the scores to the folder, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tosg_graph.bundle import refuse_existing
from tosg_graph.bundle_content import BundleContent
from tosg_graph.errors import SignalError
from tosg_graph.progress import Progress, silent
from tosg_graph.signal_evidence import evidence
from tosg_graph.signal_files import EXPLAINED, read, write
from tosg_graph.signal_findings import Findings, SignalPlan, judge
from tosg_graph.signal_prompt import prompt
from tosg_graph.signal_scores import Contrast, Scores, activity

if TYPE_CHECKING:
    from tosg_graph.donor_tests import Null
    from tosg_graph.graph import Graph
    from tosg_graph.signal_prompt import Format

Score = Literal["activity", "model"]
CHARS = 12_000  # about 3,000 tokens


def signal(
    folder: str | Path,
    *,
    by: str,
    case: str,
    control: str | None = None,
    donor: str = "donor",
    within: str | None = None,
    min_cells: int = 10,
    permutations: int = 1_000,
    null: Null = "permutation",
    fdr: float = 0.1,
    top: int = 50,
    seed: int = 0,
    score: Score = "activity",
    run: str | Path | None = None,
    all_cells: bool = False,
    store: Any = None,
    out: str | Path | None = None,
    explain: bool = False,
    chars: int = CHARS,
    graph: Graph | None = None,
    progress: Progress = silent,
) -> Findings:
    """Find which edges, nodes and pathways carry the difference between two groups of cells of a bundle.

    Parameters
    ----------
    by, case, control, donor, within, min_cells
        The two groups; see `tosg_graph.signal_scores.Contrast`.
    permutations, null, fdr, top, seed
        How they are compared; see `tosg_graph.signal_findings.SignalPlan`.
    score
        ``activity``, by abundance; or ``model``, by the messages of the network of ``run``.
    run
        What `tosg train` wrote for this bundle.
    all_cells
        With ``model``: take the cells too that the network was trained on.
    store
        The store of a bundle without abundance.
    out
        New folder for what was found.
    explain
        Write the evidence for language models there too, of at most ``chars`` characters; drugs and diseases as
        ``graph`` knows them, else as the bundle does.

    Raises
    ------
    SignalError
        If the groups cannot be compared, or the run is of another bundle.
    BundleError, ExportError
        If the bundle is damaged; if ``out`` exists or cannot be written.
    """
    contrast = Contrast(by, case, control, donor, within, min_cells)
    plan = SignalPlan(contrast, permutations, fdr, top, seed, null)
    plan.check()
    if explain and out is None:
        raise SignalError("explain=True writes into the folder of the findings. Name it with out.")
    if out is not None:
        out = refuse_existing(Path(out))
    scores = _scores(folder, contrast, score, run, all_cells, store, progress)
    content = BundleContent.open(folder)
    found = judge(content, scores, plan, score=score, progress=progress)
    if out is not None:
        more = explained(found, content=content, graph=graph, chars=chars) if explain else {}
        write(found, out, more)
    return found


def _scores(
    folder: str | Path,
    contrast: Contrast,
    score: Score,
    run: str | Path | None,
    all_cells: bool,
    store: Any,
    progress: Progress,
) -> Scores:
    if score not in ("activity", "model"):
        raise SignalError(f"score={score!r} is unknown; choose activity or model.")
    if (score == "model") != (run is not None):
        hint = (
            "needs a trained network: add --run RUN" if run is None else "takes no run; choose --score model"
        )
        raise SignalError(f"score={score!r} {hint}.")
    if all_cells and run is None:
        raise SignalError(
            "all_cells is about a trained network. Add --score model and --run RUN, or leave it out."
        )
    if run is None:
        return activity(folder, contrast, store=store, progress=progress)
    from tosg_graph.signal_network import strength

    return strength(folder, contrast, run, all_cells=all_cells, store=store, progress=progress)


def explained(
    found: Findings, *, content: BundleContent | None = None, graph: Graph | None = None, chars: int = CHARS
) -> dict[str, str]:
    """Return the evidence of findings for a language model, by file name."""
    told = evidence(found, content, graph)
    formats: dict[str, Format] = {EXPLAINED[0]: "markdown", EXPLAINED[1]: "json"}
    return {name: prompt(told, chars=chars, format=format) for name, format in formats.items()}


def explain(
    folder: str | Path,
    *,
    bundle: str | Path | None = None,
    graph: Graph | None = None,
    chars: int = CHARS,
    format: Format = "markdown",
) -> str:
    """Return the evidence of findings in a folder for a language model's prompt.

    Parameters
    ----------
    bundle
        The bundle that was compared, for the texts of nodes and what it holds of drugs and diseases.

    Raises
    ------
    SignalError
        If the folder is damaged, the bundle another, or ``chars`` are too few.
    """
    content = BundleContent.open(bundle) if bundle is not None else None
    return prompt(evidence(read(Path(folder)), content, graph), chars=chars, format=format)
