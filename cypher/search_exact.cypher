// Entities that are called exactly $text; named: by id or name, otherwise by symbol, synonym or equal CURIE.
CALL {
  MATCH (n:Entity {id: $text}) RETURN n
  UNION
  MATCH (n:Gene) WHERE n.symbol IN $spellings RETURN n
  UNION
  MATCH (n:Protein) WHERE n.symbol IN $spellings RETURN n
  UNION
  CALL db.index.fulltext.queryNodes('entity_names', $term) YIELD node AS n
  WHERE toLower(n.name) = toLower($text) OR toLower($text) IN [synonym IN n.synonyms | toLower(synonym)]
  RETURN n
  UNION
  CALL db.index.fulltext.queryNodes('entity_xrefs', $term) YIELD node AS n RETURN n
}
WITH DISTINCT n, n.id = $text OR toLower(n.name) = toLower($text) AS named
WHERE $label IS NULL OR $label IN labels(n)
RETURN n.id AS id, n.name AS name, labels(n) AS labels, named
ORDER BY named DESC, n.id
LIMIT $limit
