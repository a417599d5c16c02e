// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Stored properties of the nodes in $ids, one list each; texts follow from these.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
RETURN collect([n.id, labels(n), n.name, n.full_name, n.synonyms, n.description, n.xrefs, n.bmg_ids, n.subsets, n.licence, n.symbol, n.alias_symbols, n.previous_symbols, n.ensembl_id, n.locus_type, n.chromosome, n.start, n.end, n.omics_column, n.length, n.refseq_ids, n.entry_name, n.roles, n.species, n.revision, n.url, n.approved, n.cell_count, n.release, n.sources]) AS rows
