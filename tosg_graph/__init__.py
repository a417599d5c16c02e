"""Text-omic signaling graphs: knowledge in Neo4j, cells in Parquet, tensors from a Cypher query."""
