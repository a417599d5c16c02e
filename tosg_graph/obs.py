"""Core columns of the cells, out of the obs of a file: what a mapping says, terms, ages; other columns as they are."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.ages import Age, parse_age
from tosg_graph.decisions import read_yaml
from tosg_graph.errors import CellsError
from tosg_graph.harmonise import UNMAPPED, harmonise, is_unknown
from tosg_graph.resources import schema
from tosg_graph.terms import Vocabulary, make_terms, term_columns

if TYPE_CHECKING:
    import pyarrow as pa

PROTEINS = "proteins"  # entry of a mapping file that is about antibodies, not obs
AGE_COLUMNS = {  # our column -> field of `Age`
    "age_years": "years",
    "age_min": "years_min",
    "age_max": "years_max",
    "age_bin": "bin",
    "prenatal": "prenatal",
    "pf_days": "pf_days",
    "pf_days_min": "pf_days_min",
    "pf_days_max": "pf_days_max",
}
_TRUTHS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "0.0"), False),
}


@dataclass(frozen=True)
class ObsMapping:
    """Where core columns come from.

    Parameters
    ----------
    columns
        Core column -> obs column. A core column that is not named is taken from the obs column of the same name, or
        of the name that it has in CELLxGENE's schema.
    constants
        Core column -> the same value for every cell.
    terms
        Column -> value -> CURIE, ``unmapped`` or ``unknown``: decisions that win over any look-up.
    proteins
        Name of an antibody -> what it means; see `tosg_graph.protein_axis.map_proteins`.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    terms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    proteins: Mapping[str, str] = field(default_factory=dict)

    def with_decisions(self, kept: Mapping[str, Mapping[str, str]]) -> ObsMapping:
        """Add decisions, of which those of this mapping win."""
        names = dict.fromkeys((*kept, *self.terms))
        terms = {name: {**kept.get(name, {}), **self.terms.get(name, {})} for name in names}
        return replace(self, terms=terms)


def read_mapping(
    map_file: Path | None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
) -> ObsMapping:
    """Read a mapping from YAML and command-line options; options win.

    The YAML has one entry per core column: ``cell_type: {column: bulk_labels, terms: {"B": CL:0000236}}`` or
    ``assay: {value: "10x 3' v2"}``. A value without a term is not decided. ``proteins: {CD3: UniProtKB:P07766}`` says
    what antibodies mean.

    Raises
    ------
    CellsError
        If the file cannot be read, or names something that is no core column.
    """
    from_file = _read_entries(map_file) if map_file else {}
    proteins = {str(name): str(target) for name, target in from_file.pop(PROTEINS, {}).items()}
    mapping = ObsMapping(
        {**{k: v["column"] for k, v in from_file.items() if "column" in v}, **(columns or {})},
        {**{k: str(v["value"]) for k, v in from_file.items() if "value" in v}, **(constants or {})},
        {
            k: {str(a): str(b) for a, b in v["terms"].items() if b is not None}
            for k, v in from_file.items()
            if "terms" in v
        },
        proteins,
    )
    for name in {**mapping.columns, **mapping.constants, **mapping.terms}:
        if name not in settable_columns():
            near = difflib.get_close_matches(name, settable_columns(), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise CellsError(
                f"{name!r} is no column that can be mapped.{hint} There are {', '.join(settable_columns())}; all other "
                "obs columns are kept as they are."
            )
    for name in mapping.terms:
        if name not in term_columns():
            raise CellsError(f"{name!r} takes no terms. These do: {', '.join(term_columns())}.")
    return mapping


def settable_columns() -> list[str]:
    """Core columns that a mapping may set."""
    return [name for name, column in schema("cells")["columns"].items() if not column.get("computed")]


def used_columns(mapping: ObsMapping, obs: pa.Table) -> dict[str, str]:
    """Core column -> obs column that fills it.

    Raises
    ------
    CellsError
        If the mapping names an obs column that is not there.
    """
    held = obs.column_names
    for core, column in mapping.columns.items():
        if column not in held:
            near = difflib.get_close_matches(column, held, n=3, cutoff=0.4)
            hint = f" Nearest: {', '.join(map(repr, near))}." if near else ""
            raise CellsError(
                f"The file has no obs column {column!r} for {core}.{hint} It has {', '.join(held) or 'none at all'}."
            )
    found = {}
    for name in settable_columns():
        if name in mapping.constants:
            continue
        also = schema("cells")["columns"][name].get("alias")
        same = [c for c in (name, also) if c in held and c not in mapping.columns.values()]
        if same:
            found[name] = same[0]
    return {**found, **mapping.columns}


def core_columns(obs: pa.Table, mapping: ObsMapping, vocabulary: Vocabulary) -> dict[str, pa.Array]:
    """Map obs to core columns, those of `schema/cells.yaml` that come from it.

    Returns
    -------
    dict
        Column -> dictionary array, one row per row of ``obs``: each value is looked at once and held once, however many
        cells have it.

    Raises
    ------
    CellsError
        If the mapping does not fit: a column that is not there, an id that is no term, an age or a truth that
        cannot be read.
    """
    used = used_columns(mapping, obs)
    columns: dict[str, pa.Array] = {}
    given = {}
    for name in settable_columns():
        same = mapping.constants.get(name)
        given[name] = _texts(obs[used[name]]) if name in used else constant(same, len(obs))
        if name in term_columns():
            decisions = mapping.terms.get(name, {})
            # The terms are read only where there is something to map.
            needed = decisions or len(given[name].dictionary)
            columns |= harmonise(
                name, given[name], vocabulary.terms(name) if needed else _NO_TERMS, decisions
            )
        elif name != "age_years":
            columns[name] = _plain_values(name, given[name])
    return columns | age_columns(given["age_years"], columns["development_stage"], given["development_stage"])


def other_columns(obs: pa.Table, mapping: ObsMapping, taken: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Return the obs columns that fill no core column; ``obs_NAME`` where NAME is taken."""
    used = used_columns(mapping, obs).values()
    return {f"obs_{n}" if n in taken else n: obs[n] for n in obs.column_names if n not in used}


def age_columns(given: pa.Array, stages: pa.Array, stages_given: pa.Array) -> dict[str, pa.Array]:
    """Ages of cells, from an age where there is one, else from the development stage: its term, else as given.

    Parameters
    ----------
    given
        Ages as text; a bare number is in years.
    stages, stages_given
        Development stages as they were mapped and as they were given.

    Returns
    -------
    dict
        The keys of `AGE_COLUMNS`, ``age_years_raw`` and ``age_years_rule`` (which column the age is from).

    Raises
    ------
    CellsError
        If there are ages, and not one can be read.
    """
    import numpy as np
    import pyarrow as pa

    texts = [_encoded(column) for column in (given, stages, stages_given)]
    values = [[*column.dictionary.to_pylist(), None] for column in texts]
    # Each combination of the three is looked at once; null is the last code.
    codes = [c.indices.fill_null(len(v) - 1).to_numpy() for c, v in zip(texts, values, strict=True)]
    shape = tuple(map(len, values))
    distinct, place = np.unique(np.ravel_multi_index(codes, shape), return_inverse=True)
    ages = [parse_age(text, unit="year") for text in values[0]]
    of_stage = [[parse_age(text) for text in v] for v in values[1:]]
    _refuse_no_ages(values[0], ages)
    found, rules = [], []
    for age, stage, text in zip(*np.unravel_index(distinct, shape), strict=True):
        by_stage = of_stage[0][stage] or of_stage[1][text]
        found.append(ages[age] or by_stage)
        rules.append("age_years" if ages[age] else "development_stage" if by_stage else None)
    indices = pa.array(place.astype(np.int32))
    kinds = {"age_bin": pa.string(), "prenatal": pa.bool_()}

    def column(made: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.DictionaryArray.from_arrays(indices, pa.array(made, kind))

    columns = {
        name: column(
            [None if a is None else getattr(a, attribute) for a in found], kinds.get(name, pa.float64())
        )
        for name, attribute in AGE_COLUMNS.items()
    }
    return {**columns, "age_years_raw": texts[0], "age_years_rule": column(rules, pa.string())}


def unmapped_values(columns: Mapping[str, pa.Array] | pa.Table) -> pa.Table:
    """Count the values that were given and found no term, and the ages that cannot be read.

    Returns
    -------
    Table
        ``column``, ``raw``, ``cells``, ``rule`` (says what a value may mean if that is several things); by column, most
        cells first.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = []
    for name in (*term_columns(), "age_years"):
        rules = columns[f"{name}_rule"].cast(pa.string())
        table = pa.table({"raw": columns[f"{name}_raw"].cast(pa.string()), "rule": rules})
        if name == "age_years":
            odd = pc.invert(pc.equal(pc.fill_null(rules, ""), name))
        else:
            odd = pc.equal(columns[name].cast(pa.string()), UNMAPPED)
        counted = table.filter(odd).group_by(["raw", "rule"]).aggregate([([], "count_all")]).to_pylist()
        rows += [
            (name, row["raw"], row["count_all"], None if name == "age_years" else row["rule"])
            for row in counted
            if not is_unknown(row["raw"], name)
        ]
    order = [*term_columns(), "age_years"]
    rows.sort(key=lambda r: (order.index(r[0]), -r[2], r[1]))
    names = ("column", "raw", "cells", "rule")
    kinds = (pa.string(), pa.string(), pa.int64(), pa.string())
    parts = zip(*rows, strict=True) if rows else ((),) * 4
    return pa.table([pa.array(p, kind) for p, kind in zip(parts, kinds, strict=True)], names=names)


# --------------------------------------------------------------------------- values


def _texts(column: pa.ChunkedArray) -> pa.Array:
    """Values of an obs column as text, each once; a whole number without a fraction."""
    import pyarrow as pa

    def text(value: Any) -> str:
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    encoded = _encoded(column)
    values = [None if v is None else text(v) for v in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(values, pa.string()))


def _encoded(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return whole if isinstance(whole, pa.DictionaryArray) else whole.dictionary_encode()


def constant(value: str | None, count: int) -> pa.Array:
    """The same value in every row, held once; or only nulls."""
    import pyarrow as pa

    indices = pa.nulls(count, pa.int32()) if value is None else pa.repeat(pa.scalar(0, pa.int32()), count)
    return pa.DictionaryArray.from_arrays(indices, pa.array([] if value is None else [value], pa.string()))


def _plain_values(name: str, texts: pa.Array) -> pa.Array:
    """Values of a column that is no term: text with null where nothing is known, or truths."""
    import pyarrow as pa

    truths = schema("cells")["columns"][name]["type"] == "bool"
    given = texts.dictionary.to_pylist()
    made = [
        _truth(name, v) if truths and v is not None else None if is_unknown(v, name) else v for v in given
    ]
    return pa.DictionaryArray.from_arrays(
        texts.indices, pa.array(made, pa.bool_() if truths else pa.string())
    )


def _refuse_no_ages(texts: Sequence[str | None], ages: Sequence[Age | None]) -> None:
    first = next((text for text in texts if not is_unknown(text)), None)
    if first is not None and not any(ages):
        raise CellsError(
            f"age_years is {first!r} for a cell, and no value of that column can be read as an age. Map another "
            "column; docs/terms.md lists the forms."
        )


def _truth(column: str, value: str) -> bool | None:
    low = value.strip().lower()
    if low in _TRUTHS:
        return _TRUTHS[low]
    if is_unknown(value, column):
        return None
    raise CellsError(f"{column} is {value!r} for a cell, and must be true or false. Map another column.")


_NO_TERMS = make_terms(())

# --------------------------------------------------------------------------- mapping files


def _read_entries(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    wrong = not isinstance(content, dict) or [k for k, v in content.items() if not isinstance(v, dict)]
    if wrong:
        raise CellsError(
            f"{path} needs one entry per column, as in `cell_type: {{column: celltype}}`. See docs/cells.md."
        )
    for name, entry in content.items():
        if name == PROTEINS:
            continue
        unknown = set(entry) - {"column", "value", "terms"}
        if unknown:
            raise CellsError(
                f"{path}: {name} has {sorted(unknown)[0]!r}; it may have column, value and terms."
            )
        if not isinstance(entry.get("terms", {}), dict):
            raise CellsError(f"{path}: terms of {name} is no list of `value: id`. See docs/terms.md.")
    return dict(content)
