"""What a selection grows by: relationships some steps around picked nodes, and all among them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import QueryError
from tosg_graph.reading import Reading, parallel
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

MOST_STEPS = 10
CHUNK = 50_000  # ids per list and per statement: bounds memory on both sides
HOP_CHUNK = 2_000  # nodes whose relationships are asked for at a time: some have many


@dataclass(frozen=True)
class Hops:
    """How a selection grows.

    Parameters
    ----------
    steps
        1 to 10: relationships that touch a picked node, and their other ends, so many times.
    cap
        Most relationships of one verb that are followed from one node; all without it.
    verbs
        Verbs that are followed; those of the schema without it.
    seed
        Decides which relationships a cap keeps: those with the smallest hash of their ``edge_key`` and the seed,
        whatever the order in which the server finds them.

    Raises
    ------
    QueryError
        If a number is out of its bounds, or a verb is not in the schema.
    """

    steps: int
    cap: int | None = None
    verbs: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no number of steps, no cap or no verb."""
        if not 1 <= self.steps <= MOST_STEPS:
            raise QueryError(f"hops is {self.steps}; it is a number of steps from 1 to {MOST_STEPS}.")
        if self.cap is not None and self.cap < 1:
            raise QueryError(f"hop cap is {self.cap}; follow at least 1 relationship, or leave it out.")
        if not 0 <= self.seed < 2**63:
            raise QueryError(f"hop seed is {self.seed}; choose a whole number from 0 to 2^63 - 1.")
        check_verbs(self.verbs)

    def facts(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {**asdict(self), "verbs": list(self.verbs)}


@dataclass(frozen=True)
class Grown:
    """Internal ids of relationships by verb that were followed, and of all that were seen on the way."""

    relationships: dict[str, Ids]
    seen: Ids


@dataclass(frozen=True)
class _Found:
    """Relationships of one verb at some nodes: one entry per node and relationship, four int64 arrays of one length."""

    nodes: Ids
    relationships: Ids
    ends: Ids
    keys: Ids


def check_verbs(verbs: Sequence[str]) -> None:
    """Refuse verbs that the schema does not have; the nearest is named.

    Raises
    ------
    QueryError
        Naming the first.
    """
    from tosg_graph import contract

    for verb in verbs:
        if verb not in contract.verbs():
            near = difflib.get_close_matches(verb.upper(), contract.verbs(), n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(contract.verbs())}."
            raise QueryError(f"{verb!r} is no relationship type of schema/edges.yaml. {hint}")


def grow(reading: Reading, nodes: Ids, hops: Hops) -> Grown:
    """Follow relationships from ``nodes``, in either direction, step by step; a step starts from what the last reached.

    Parameters
    ----------
    nodes
        Internal ids, sorted, distinct.
    """
    from tosg_graph.contract import verbs

    followed: dict[str, list[Ids]] = {}
    seen: list[Ids] = []
    reached, border = nodes, nodes
    for _ in range(hops.steps):
        ends: list[Ids] = []
        for verb, found in _touching(reading, border, hops.verbs or tuple(verbs())):
            kept = _sample(found, hops)
            followed.setdefault(verb, []).append(found.relationships[kept])
            ends.append(found.ends[kept])
            seen.append(found.relationships)
        border = _without(union(ends), reached)
        if not len(border):
            break
        reached = union([reached, border])
    return Grown({verb: union(ids) for verb, ids in followed.items()}, union(seen))


def induced(reading: Reading, nodes: Ids, verbs: Sequence[str] = ()) -> dict[str, Ids]:
    """Internal ids of all relationships among ``nodes``, by verb; those of ``verbs`` alone where some are named.

    Findings of runs are none: they would stand beside the relationships that they are about.
    """
    import numpy as np

    from tosg_graph.contract import finding

    found: dict[str, list[Ids]] = {}
    asked = {"ids": nodes.tolist(), "chunk": CHUNK, "verbs": list(verbs) or None}
    for row in reading.records(cypher("select_induce"), asked):
        if row["verb"] != finding():
            found.setdefault(row["verb"], []).append(np.array(row["ids"], np.int64))
    return {verb: union(ids) for verb, ids in found.items()}


def ends_of(reading: Reading, relationships: Mapping[str, Ids]) -> list[Ids]:
    """Internal ids of the nodes at both ends of relationships, as arrays that may overlap."""
    import numpy as np

    def read(ids: Ids) -> list[Ids]:
        rows = reading.records(cypher("select_ends"), {"ids": ids.tolist()})
        return [np.array(row[side], np.int64) for row in rows for side in ("starts", "ends")]

    tasks = [part for ids in relationships.values() for part in chunks(ids, CHUNK)]
    return [ends for found in parallel(read, tasks) for ends in found]


def _touching(reading: Reading, nodes: Ids, verbs: Sequence[str]) -> list[tuple[str, _Found]]:
    import numpy as np

    def read(ids: Ids) -> list[tuple[str, _Found]]:
        rows = reading.records(cypher("select_hop"), {"ids": ids.tolist(), "verbs": list(verbs)})
        names = ("nodes", "relationships", "ends", "keys")
        return [(row["verb"], _Found(*(np.array(row[n], np.int64) for n in names))) for row in rows]

    return [found for part in parallel(read, chunks(nodes, HOP_CHUNK)) for found in part]


def _sample(found: _Found, hops: Hops) -> Ids:
    """Places of the relationships that are followed: of each node, the ``cap`` with the smallest hashes."""
    import numpy as np

    if hops.cap is None:
        return np.arange(len(found.nodes))
    order = np.lexsort((found.relationships, found.keys, _hashed(found.keys, hops.seed), found.nodes))
    at = found.nodes[order]
    first = np.flatnonzero(np.append(True, at[1:] != at[:-1]))
    rank = np.arange(len(at)) - np.repeat(first, np.diff(np.append(first, len(at))))
    kept: Ids = order[rank < hops.cap]
    return kept


def _hashed(keys: Ids, seed: int) -> NDArray[np.uint64]:
    """Hash of each key and the seed: the finaliser of SplitMix64 (Steele, Lea and Flood 2014), twice."""
    import numpy as np

    def mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

    salt = mixed(np.array([seed], np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    return mixed(keys.astype(np.uint64) ^ salt)


# --------------------------------------------------------------------------- sets of ids


def union(parts: Sequence[Ids]) -> Ids:
    """Sorted, distinct ids of all parts."""
    import numpy as np

    # numpy.unique hashes, which takes ten times as long as sorting does.
    ids = np.sort(np.concatenate([np.empty(0, np.int64), *parts]))
    return ids[np.append(True, ids[1:] != ids[:-1])] if len(ids) else ids


def within(ids: Ids, known: Ids) -> NDArray[np.bool_]:
    """Which of ``ids`` are among ``known``, which are sorted."""
    import numpy as np

    if not len(known):
        return np.zeros(len(ids), np.bool_)
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    found: NDArray[np.bool_] = known[at] == ids
    return found


def chunks(ids: Ids, size: int) -> list[Ids]:
    """Runs of at most ``size`` ids."""
    return [ids[i : i + size] for i in range(0, len(ids), size)]


def _without(ids: Ids, known: Ids) -> Ids:
    return ids[~within(ids, known)]
