// Entities that are called exactly $text: by id, by symbol, by name or synonym, or by a CURIE that means the same.
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
WITH DISTINCT n
WHERE $label IS NULL OR $label IN labels(n)
RETURN n.id AS id, n.name AS name, labels(n) AS labels
ORDER BY n.id
LIMIT $limit
