// Properties of picked nodes, one list per node in the order of $keys.
UNWIND $ids AS i
MATCH (n) WHERE id(n) = i
RETURN labels(n) AS labels, collect(id(n)) AS ids, collect([k IN $keys | n[k]]) AS rows
