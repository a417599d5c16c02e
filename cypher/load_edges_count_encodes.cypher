// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many ENCODES relationships each source states.
MATCH ()-[r:ENCODES]->()
RETURN r.source AS source, count(*) AS edges
