// What the own lines of the entities in $ids are made of; those that carry today's stamp are left out.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
WHERE n.annotated IS NULL OR n.annotated <> $stamp
RETURN n.id AS id, labels(n) AS labels, n.name AS name, n.full_name AS full_name, n.symbol AS symbol,
  n.locus_type AS locus_type, n.description AS description, n.synonyms AS synonyms, n.alias_symbols AS alias_symbols,
  n.previous_symbols AS previous_symbols, n.text_sha AS text_sha
