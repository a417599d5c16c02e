// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many LIGAND_OF relationships there are; read from the count store.
MATCH ()-[r:LIGAND_OF]->()
RETURN count(r) AS edges
