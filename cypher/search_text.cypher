CALL db.index.fulltext.queryNodes('entity_text', $terms) YIELD node AS n, score
WHERE $label IS NULL OR $label IN labels(n)
RETURN n.id AS id, n.name AS name, labels(n) AS labels
ORDER BY score DESC, n.id
LIMIT $limit
