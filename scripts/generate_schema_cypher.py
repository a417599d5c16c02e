"""Write the Cypher that follows from ``schema/*.yaml`` into ``cypher/``; run after a change of the schema."""

from __future__ import annotations

import sys
from pathlib import Path

from tosg_graph.annotate import annotation_statements
from tosg_graph.contract import load_statements, schema_statements

FOLDER = Path(__file__).parent.parent / "cypher"
MARK = "// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.\n"


def generated() -> dict[str, str]:
    """File name in ``cypher/`` -> content."""
    statements = schema_statements()
    constraints = [s for s in statements if s.startswith("CREATE CONSTRAINT")]
    indexes = [s for s in statements if not s.startswith("CREATE CONSTRAINT")]
    texts = {
        "schema_constraints": ";\n".join(constraints) + ";",
        "schema_indexes": ";\n".join(indexes) + ";",
        **load_statements(),
        **annotation_statements(),
    }
    return {f"{name}.cypher": f"{MARK}{text}\n" for name, text in texts.items()}


def main() -> int:
    """Write changed files, remove those whose verb is gone."""
    files = generated()
    for path in FOLDER.glob("*.cypher"):
        if path.name not in files and path.read_text(encoding="utf-8").startswith(MARK):
            path.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{len(files)} files in {FOLDER.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
