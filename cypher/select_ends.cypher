// Nodes at the ends of the relationships $ids, as flat lists of internal ids.
UNWIND $ids AS i
MATCH (a)-[r]->(b) WHERE id(r) = i
RETURN collect(DISTINCT id(a)) AS starts, collect(DISTINCT id(b)) AS ends
