// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many INVOLVED_IN relationships each source states.
MATCH ()-[r:INVOLVED_IN]->()
RETURN r.source AS source, count(*) AS edges
