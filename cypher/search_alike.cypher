CALL db.index.fulltext.queryNodes('entity_names', $terms, {limit: $depth}) YIELD node AS n, score
WHERE $label IS NULL OR $label IN labels(n)
RETURN n.name AS name
ORDER BY score DESC, n.id
LIMIT $limit
