"""Antibodies are found by stated rules, and what they may not be is said."""

from __future__ import annotations

import pytest

from tosg_graph.errors import CellsError
from tosg_graph.gene_axis import ALIAS, AMBIGUOUS, ENSEMBL, PREVIOUS, SYMBOL, GeneNames
from tosg_graph.protein_axis import (
    CONTROL,
    DECIDED,
    NAME,
    NO_NODE,
    SECOND,
    SUGAR,
    TARGET,
    UNIPROT,
    UNKNOWN,
    FeatureProtein,
    ProteinNames,
    folded,
    map_proteins,
)

# Gene id -> symbol; its protein is P:<symbol>, but two of MULTI and none of LONELY.
SYMBOLS = [
    "CD4",
    "CD8A",
    "CD19",
    "PTPRC",
    "CD3D",
    "CD3E",
    "CD3G",
    "FCGR3A",
    "ITGA2B",
    "ITGAM",
    "PDCD1",
    "MULTI",
    "LONELY",
]
GENES = GeneNames(
    {f"g:{s}": s for s in SYMBOLS},
    {
        ENSEMBL: {},
        SYMBOL: {s: (f"g:{s}",) for s in SYMBOLS},
        PREVIOUS: {"CD45": ("g:PTPRC",), "CD11B": ("g:ITGAM",)},
        ALIAS: {
            "CD41": ("g:ITGA2B",),
            "CD279": ("g:PDCD1",),
            "CD9000": ("g:CD4", "g:CD19"),
            "CD15": ("g:CD4",),
        },
    },
)
_OF = {s: [f"P:{s}"] for s in SYMBOLS} | {"MULTI": ["P:M1", "P:M2"], "LONELY": []}
PROTEINS = ProteinNames(
    of_gene={f"g:{s}": tuple(of) for s, of in _OF.items()},
    by_id={"p01730": "P:CD4", "cd19_human": "P:CD19"},
    by_name={folded("Leu-4 receptor"): ("P:CD8A",), folded("twice"): ("P:CD4", "P:CD19")},
    symbol_of={p: s for s, of in _OF.items() for p in of},
    gene_of={p: f"g:{s}" for s, of in _OF.items() for p in of},
)


def found(name: str, decisions: dict[str, str] | None = None) -> FeatureProtein:
    (one,) = map_proteins([name], decisions or {}, PROTEINS, GENES)
    return one


@pytest.mark.parametrize(
    ("name", "protein", "rule"),
    [
        ("CD4", "P:CD4", SYMBOL),
        ("CD8a_TotalSeqB", "P:CD8A", SYMBOL),
        ("CD19-TotalSeqC", "P:CD19", SYMBOL),
        ("CD4 TotalSeq-A", "P:CD4", SYMBOL),
        ("adt_CD4", "P:CD4", SYMBOL),
        ("CD4_prot", "P:CD4", SYMBOL),
        ("Hu.CD4", "P:CD4", SYMBOL),
        ("CD4.1", "P:CD4", SYMBOL),  # and not CD41
        ("CD41", "P:ITGA2B", ALIAS),
        ("CD-41", "P:ITGA2B", ALIAS),
        ("CD45", "P:PTPRC", PREVIOUS),
        ("CD11b", "P:ITGAM", PREVIOUS),
        ("anti-human CD279 (PD-1)", "P:PDCD1", ALIAS),
        ("CD45RO_TotalSeqB", "P:PTPRC", TARGET),
        ("PD-1", "P:PDCD1", TARGET),
        ("P01730", "P:CD4", UNIPROT),
        ("CD19_HUMAN", "P:CD19", UNIPROT),
        ("Leu 4 Receptor", "P:CD8A", NAME),
    ],
)
def test_a_name_finds_its_protein(name: str, protein: str, rule: str) -> None:
    one = found(name)
    assert (one.protein_id, one.rule, one.key) == (protein, rule, protein)
    assert one.gene_id == f"g:{one.symbol}"


@pytest.mark.parametrize(
    ("name", "rule", "candidates"),
    [
        ("CD3", AMBIGUOUS, ("P:CD3D", "P:CD3E", "P:CD3G")),
        ("CD16", AMBIGUOUS, ("P:FCGR3A",)),  # the graph has one of two: still nobody knows
        ("CD9000", AMBIGUOUS, ("P:CD19", "P:CD4")),
        ("MULTI", AMBIGUOUS, ("P:M1", "P:M2")),
        ("twice", AMBIGUOUS, ("P:CD4", "P:CD19")),
        ("CD15", SUGAR, ()),  # whatever gene has the alias
        ("LONELY", NO_NODE, ("g:LONELY",)),
        ("CD99999", UNKNOWN, ()),
        ("IgM", UNKNOWN, ()),  # what a B cell carries
        ("IgG1", CONTROL, ()),
        ("IgG2a_control_TotalSeqB", CONTROL, ()),
        ("Mouse IgG", CONTROL, ()),
        ("rat-IgG2b", CONTROL, ()),
        ("Isotype_RTK2071", CONTROL, ()),
        ("CD4_isotype_ctrl", CONTROL, ()),
    ],
)
def test_what_is_no_one_protein_keeps_its_own_name(name: str, rule: str, candidates: tuple[str, ...]) -> None:
    one = found(name)
    assert (one.protein_id, one.rule, set(one.candidates), one.key) == (None, rule, set(candidates), name)


def test_of_two_antibodies_of_a_protein_the_plainer_name_wins() -> None:
    rules = {
        f.feature: (f.protein_id, f.rule)
        for f in map_proteins(["CD45RA", "CD45", "B220"], {}, PROTEINS, GENES)
    }
    assert rules == {"CD45": ("P:PTPRC", PREVIOUS), "CD45RA": (None, SECOND), "B220": (None, SECOND)}


def test_isoforms_alone_are_not_taken_for_their_protein() -> None:
    both = map_proteins(["CD45RA", "CD45RO"], {}, PROTEINS, GENES)
    assert [(f.protein_id, f.rule, f.candidates) for f in both] == [(None, AMBIGUOUS, ("P:PTPRC",))] * 2


@pytest.mark.parametrize(
    ("target", "protein", "rule"),
    [
        ("CD3E", "P:CD3E", DECIDED),
        ("P01730", "P:CD4", DECIDED),
        ("none", None, DECIDED),
        ("control", None, CONTROL),
    ],
)
def test_a_person_decides(target: str, protein: str | None, rule: str) -> None:
    one = found("CD3", {"CD3": target, "elsewhere": "nonsense"})
    assert (one.protein_id, one.rule) == (protein, rule)


@pytest.mark.parametrize("target", ["nonsense", "CD3", "MULTI", "LONELY"])
def test_a_decision_that_names_no_one_protein_is_refused(target: str) -> None:
    with pytest.raises(CellsError, match=f"'CD3' is decided to be '{target}'.*Name one by its id"):
        found("CD3", {"CD3": target})
