// Make empty lists that the bulk import left out, of at most $limit nodes.
MATCH (n) WHERE n.tosg_empty_lists IS NOT NULL
WITH n LIMIT $limit
UNWIND n.tosg_empty_lists AS name
SET n[name] = []
REMOVE n.tosg_empty_lists
