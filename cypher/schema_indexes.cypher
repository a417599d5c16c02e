// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
CREATE INDEX gene_symbol IF NOT EXISTS FOR (n:Gene) ON (n.symbol);
CREATE INDEX transcript_omics_column IF NOT EXISTS FOR (n:Transcript) ON (n.omics_column);
CREATE INDEX protein_symbol IF NOT EXISTS FOR (n:Protein) ON (n.symbol);
CREATE FULLTEXT INDEX entity_names IF NOT EXISTS FOR (n:Entity) ON EACH [n.name, n.symbol, n.synonyms, n.full_name, n.alias_symbols, n.previous_symbols]
OPTIONS {indexConfig: {`fulltext.analyzer`: 'standard-no-stop-words'}};
CREATE FULLTEXT INDEX entity_text IF NOT EXISTS FOR (n:Entity) ON EACH [n.text, n.description]
OPTIONS {indexConfig: {`fulltext.analyzer`: 'standard-no-stop-words'}};
CREATE FULLTEXT INDEX entity_xrefs IF NOT EXISTS FOR (n:Entity) ON EACH [n.xrefs]
OPTIONS {indexConfig: {`fulltext.analyzer`: 'keyword'}};
CREATE VECTOR INDEX entity_text_vec IF NOT EXISTS FOR (n:Entity) ON n.text_embedding
OPTIONS {indexConfig: {`vector.dimensions`: 384, `vector.similarity_function`: 'cosine'}};
