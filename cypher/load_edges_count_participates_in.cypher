// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many PARTICIPATES_IN relationships each source states.
MATCH ()-[r:PARTICIPATES_IN]->()
RETURN r.source AS source, count(*) AS edges
