MATCH (n:Entity)
WHERE n[$property] IS NOT NULL
RETURN n.id AS id, n.name AS name, [label IN labels(n) WHERE label <> 'Entity'] AS labels, n[$property] AS value
ORDER BY value DESC, id
LIMIT $limit
