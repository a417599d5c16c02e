// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Delete the LIGAND_OF relationships in $keys.
UNWIND $keys AS key
MATCH ()-[r:LIGAND_OF {edge_key: key}]->()
DELETE r
