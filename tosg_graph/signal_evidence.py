"""The evidence of findings: what was found, what states it, and which drugs and diseases are around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tosg_graph import bundle
from tosg_graph.errors import SignalError
from tosg_graph.gene_relations import stated
from tosg_graph.hashes import sha256_of
from tosg_graph.resources import cypher
from tosg_graph.text import TEXT_COLUMNS, clean, entity_text

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.bundle_content import BundleContent
    from tosg_graph.graph import Graph
    from tosg_graph.signal_findings import Findings

MOST = 50  # pathways, edges and nodes, each
WITHIN = 10  # members, and edges among them, of a pathway
AROUND = 5  # drugs, and diseases, of a node
TEXT = 400  # characters of a node's text
_KINDS = {"TARGETS": "drugs", "ASSOCIATED_WITH": "diseases"}
_SCALES = {
    "activity": {
        "nodes": "mean over donors of log2 counts per 10,000 (surface proteins: centred log ratio); `fraction` is the "
        "share of cells with a count",
        "edges": "mean over donors of the geometric mean of both ends' log1p counts per 10,000 within a cell",
    },
    "model": {
        "nodes": "mean over donors of half of what the messages along a node's edges carry in a trained network",
        "edges": "mean over donors of the strength of an edge's messages in a trained network",
    },
}


def evidence(
    found: Findings, content: BundleContent | None = None, graph: Graph | None = None
) -> dict[str, Any]:
    """Gather what speaks for the findings, JSON-able and in an order that the findings decide.

    Parameters
    ----------
    content
        The bundle that was compared: it has the texts of nodes, and drugs and diseases where these were exported.
    graph
        Says which drugs and diseases are around, in place of the bundle.

    Raises
    ------
    SignalError
        If the bundle is another than that of the findings.
    """
    said = found.about
    if content and sha256_of(content.folder / bundle.MANIFEST) != said["bundle"]["manifest_sha256"]:
        raise SignalError(
            f"{content.folder} is not the bundle of the findings. Name the one that was compared."
        )
    pathways = _found(found.pathways)
    edges = [_edge(row) for row in _found(found.edges)]
    nodes = _nodes(found, pathways)
    around = _around(nodes, content, graph)
    texts = _texts(content, nodes)
    return {
        "question": {**said["contrast"], "score": said["score"], "rate_of_false_discoveries": said["fdr"]},
        "run": said["run"],
        "graph_release": said["bundle"]["graph_release"],
        "scales": _SCALES[said["score"]],
        "compared": {"arms": said["units"]["arms"], "each_donor_with_itself": said["units"]["paired"]},
        "tests": said["tests"],
        "verdict": said["verdict"],
        "reasons": said["reasons"],
        "notes": said["notes"],
        "not_to_be_concluded": _limits(found),
        "missing": _missing(content, graph, around, found),
        "pathways": [_pathway(row, found) for row in pathways],
        "edges": edges,
        "nodes": [{**_node(row), **texts.get(row["id"], {}), **around.get(row["id"], {})} for row in nodes],
    }


def _found(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.filter(table["found"]).slice(0, MOST).to_pylist()
    return rows


def _rounded(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Four digits are all that a reader needs; what is not known is null."""
    found = {name: float(f"{row[name]:.4g}") for name in names}
    return {name: None if value != value else value for name, value in found.items()}


def _edge(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": {"id": row["source_id"], "name": row["source_name"]},
        "verb": row["verb"],
        "sign": row["sign"],
        "target": {"id": row["target_id"], "name": row["target_name"]},
        "stated_by": row["sources"],
        "publications": row["publications"][:WITHIN],
        "publications_known": len(row["publications"]),
        **_rounded(row, ("mean_case", "mean_control", "difference", "p", "q")),
        "found": row["found"],
    }


def _node(row: Mapping[str, Any]) -> dict[str, Any]:
    numbers = ("mean_case", "mean_control", "fraction_case", "fraction_control", "difference", "p", "q")
    return {**{name: row[name] for name in ("id", "name", "type", "found")}, **_rounded(row, numbers)}


def _nodes(found: Findings, pathways: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Nodes that were found, then those that carry found edges and pathways."""
    wanted = dict.fromkeys(row["id"] for row in _found(found.nodes))
    for row in _found(found.edges):
        wanted |= dict.fromkeys((row["source_id"], row["target_id"]))
    for pathway in pathways:
        wanted |= dict.fromkeys(pathway["leading"][:WITHIN] if pathway["explained_by"] is None else [])
    tested = {node["id"]: node for node in found.nodes.to_pylist() if node["id"] in wanted}
    return [tested[name] for name in wanted if name in tested][:MOST]


def _pathway(row: Mapping[str, Any], found: Findings) -> dict[str, Any]:
    leading = set(row["leading"])
    inside = [
        _edge(edge)
        for edge in found.edges.to_pylist()
        if edge["source_id"] in leading and edge["target_id"] in leading
    ]
    names = dict(zip(found.nodes["id"].to_pylist(), found.nodes["name"].to_pylist(), strict=True))
    return {
        **{
            name: row[name]
            for name in ("id", "name", "kind", "tested", "explained_by", "same_as", "permutations")
        },
        **_rounded(row, ("difference", "score", "p", "q")),
        "leading": [{"id": name, "name": names.get(name)} for name in row["leading"][:WITHIN]],
        "leading_known": len(row["leading"]),
        "edges": inside[:WITHIN],
    }


def _texts(content: BundleContent | None, nodes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    if content is None:
        return {}
    wanted = {row["id"] for row in nodes}
    table = content.nodes
    known = [name for name in (*TEXT_COLUMNS, "labels") if name in table.column_names]
    at = [k for k, name in enumerate(table["id"].to_pylist()) if name in wanted]
    return {row["id"]: {"text": _short(entity_text(row))} for row in table.select(known).take(at).to_pylist()}


def _short(text: str) -> str:
    line = clean(text.replace("\n", "; "))
    return line if len(line) <= TEXT else f"{line[:TEXT].rsplit(' ', 1)[0]} …"


# --------------------------------------------------------------------------- drugs and diseases

_Around = dict[str, dict[str, Any]]


def _around(
    nodes: Sequence[Mapping[str, Any]], content: BundleContent | None, graph: Graph | None
) -> _Around:
    """``drugs`` and ``diseases`` of each node, and how many are known."""
    ids = [row["id"] for row in nodes]
    if graph is not None:
        rows = graph.rows(cypher("signal_drugs_and_diseases"), ids=ids, most=AROUND)
    elif content is not None:
        rows = _exported(content, set(ids))
    else:
        rows = []
    found: _Around = {}
    for row in rows:
        kind = _KINDS[row["verb"]]
        kept = [
            {"id": x["id"], "name": x["name"], "how": sorted(x["how"]), "stated_by": sorted(x["sources"])}
            for x in row["kept"]
        ]
        found.setdefault(row["id"], {}).update({kind: kept, f"{kind}_known": row["known"]})
    return found


def _exported(content: BundleContent, ids: set[str]) -> list[dict[str, Any]]:
    """What the edges of the bundle say, in the shape of the graph's answer."""
    names, types = content.nodes["name"].to_pylist(), content.nodes["type"].to_pylist()
    of = content.nodes["id"].to_pylist()
    tables = dict(content.edges())
    stands: dict[str, list[str]] = {name: [name] for name in ids}
    for (_, verb, _), table in tables.items():
        for pair in _pairs(table, verb) if verb == "ENCODES" else []:
            for one, other in (pair[:2], pair[1::-1]):
                if of[one] in ids:
                    stands.setdefault(of[other], []).append(of[one])
    met: dict[tuple[str, str], dict[int, tuple[set[str], set[str]]]] = {}
    for (_, verb, _), table in tables.items():
        for source, target, by, how in _pairs(table, verb) if verb in _KINDS else []:
            for place, other in ((target, source), (source, target)):
                if types[other] == ("Drug" if verb == "TARGETS" else "Disease"):
                    for node in stands.get(of[place], []):
                        sources, hows = met.setdefault((node, verb), {}).setdefault(other, (set(), set()))
                        sources.add(by)
                        hows.update([how] if how else [])
    rows = []
    for (node, verb), others in sorted(met.items()):
        order = sorted(others, key=lambda k: (-len(others[k][0]), of[k]))
        kept = [
            {"id": of[k], "name": names[k], "how": others[k][1], "sources": others[k][0]}
            for k in order[:AROUND]
        ]
        rows.append({"id": node, "verb": verb, "known": len(order), "kept": kept})
    return rows


def _pairs(table: pa.Table, verb: str) -> list[tuple[int, int, str, str | None]]:
    """Source, target, who states it, and how, of each statement."""
    said = stated(table)
    column = {"TARGETS": "action", "ASSOCIATED_WITH": "relation"}.get(verb, "")
    how = said[column].to_pylist() if column in said.column_names else [None] * len(said)
    columns = (said[name].to_pylist() for name in ("source_row", "target_row", "source"))
    return list(zip(*columns, how, strict=True))


# --------------------------------------------------------------------------- limits


def _missing(
    content: BundleContent | None, graph: Graph | None, around: _Around, found: Findings
) -> list[str]:
    lines = []
    if content is None:
        lines.append("texts of nodes: the bundle was not named")
    if graph is None and not around:
        where = (
            "" if content is None else ", and the bundle holds no TARGETS or ASSOCIATED_WITH of these nodes"
        )
        lines.append(f"drugs and diseases: the graph was not asked{where}")
    elif graph is None:
        lines.append("drugs and diseases outside the bundle: the graph was not asked")
    if not any(found.edges["publications"].to_pylist()):
        lines.append("publications: no statement of a tested edge names any")
    return lines


def _limits(found: Findings) -> list[str]:
    said = found.about
    donors = " against ".join(str(arm["donors"]) for arm in said["units"]["arms"])
    lines = [
        "Differences between groups of donors are associations: nothing here was changed on purpose.",
        "An edge is knowledge of other experiments; that both ends are there does not show that a signal passes.",
        "Abundance of RNA is not activity of a protein.",
        f"With {donors} donors, what was not found may still differ.",
        "That a drug targets a node says nothing of whether it helps.",
    ]
    if said["score"] == "model":
        lines[1] = "Strength of a message is what a network attends to, which need not be how cells signal."
    if said["verdict"] != "ok":
        lines.insert(0, f"The verdict on the comparison is {said['verdict']}: see the reasons.")
    if said["pathways_explained_by_others"]:
        lines.append("A pathway that is explained by another may differ only in members that they share.")
    return lines
