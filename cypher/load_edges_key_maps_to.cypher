// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before MAPS_TO is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT maps_to_edge_key IF NOT EXISTS FOR ()-[r:MAPS_TO]-() REQUIRE r.edge_key IS UNIQUE
