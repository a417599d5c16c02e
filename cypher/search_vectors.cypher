// The index knows no labels: ask for more than wanted, then keep the kind that was asked for.
CALL db.index.vector.queryNodes('entity_text_vec', $neighbours, $vector) YIELD node AS n, score
WHERE $label IS NULL OR $label IN labels(n)
RETURN n.id AS id, n.name AS name, labels(n) AS labels
ORDER BY score DESC, n.id
LIMIT $limit
