// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many LIGAND_OF relationships each source states.
MATCH ()-[r:LIGAND_OF]->()
RETURN r.source AS source, count(*) AS edges
