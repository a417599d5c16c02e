// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many SIGNALS_TO relationships each source states.
MATCH ()-[r:SIGNALS_TO]->()
RETURN r.source AS source, count(*) AS edges
