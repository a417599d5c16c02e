// Ids of nodes by the server's own element ids.
MATCH (n) WHERE elementId(n) IN $nodes
RETURN elementId(n) AS node, n.id AS id
