// Three lists of hits by words, at most $limit each, and the $words that no entity has.
CALL {
  // Called exactly that; named: by id or name, otherwise by symbol, synonym or equal CURIE.
  CALL {
    MATCH (n:Entity) WHERE n.id IN $curies RETURN n
    UNION
    MATCH (n:Gene) WHERE n.symbol IN $symbols RETURN n
    UNION
    MATCH (n:Protein) WHERE n.symbol IN $symbols RETURN n
    UNION
    CALL db.index.fulltext.queryNodes('entity_names', $phrases, {limit: $exact}) YIELD node AS n
    WHERE toLower(n.name) IN $spellings OR toLower(n.full_name) IN $spellings
      OR any(names IN [n.synonyms, n.alias_symbols, n.previous_symbols]
        WHERE any(synonym IN names WHERE toLower(synonym) IN $spellings))
    RETURN n
    UNION
    CALL db.index.fulltext.queryNodes('entity_xrefs', $xrefs, {limit: $exact}) YIELD node AS n RETURN n
  }
  WITH DISTINCT n, n.id IN $curies OR toLower(n.name) IN $spellings AS named
  WHERE $label IS NULL OR $label IN labels(n)
  WITH n, named ORDER BY named DESC, n.id LIMIT $limit
  RETURN collect({id: n.id, name: n.name, labels: labels(n), named: named}) AS exact
}
CALL {
  CALL db.index.fulltext.queryNodes('entity_names', $terms, {limit: $depth}) YIELD node AS n, score
  WHERE $label IS NULL OR $label IN labels(n)
  WITH n, score ORDER BY score DESC, n.id LIMIT $limit
  RETURN collect({id: n.id, name: n.name, labels: labels(n)}) AS called
}
CALL {
  CALL db.index.fulltext.queryNodes('entity_text', $terms, {limit: $depth}) YIELD node AS n, score
  WHERE $label IS NULL OR $label IN labels(n)
  WITH n, score ORDER BY score DESC, n.id LIMIT $limit
  RETURN collect({id: n.id, name: n.name, labels: labels(n)}) AS told
}
CALL {
  UNWIND $words AS word
  CALL (word) {
    CALL db.index.fulltext.queryNodes('entity_text', word, {limit: 1}) YIELD node RETURN count(node) AS told
  }
  CALL (word) {
    CALL db.index.fulltext.queryNodes('entity_names', word, {limit: 1}) YIELD node RETURN count(node) AS called
  }
  WITH word WHERE told + called = 0
  RETURN collect(word) AS unknown
}
RETURN exact, called, told, unknown
