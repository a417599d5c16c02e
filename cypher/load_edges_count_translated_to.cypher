// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many TRANSLATED_TO relationships each source states.
MATCH ()-[r:TRANSLATED_TO]->()
RETURN r.source AS source, count(*) AS edges
