// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many PART_OF relationships each source states.
MATCH ()-[r:PART_OF]->()
RETURN r.source AS source, count(*) AS edges
