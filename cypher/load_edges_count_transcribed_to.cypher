// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many TRANSCRIBED_TO relationships each source states.
MATCH ()-[r:TRANSCRIBED_TO]->()
RETURN r.source AS source, count(*) AS edges
