// Every relationship of the types $verbs that touches one of the nodes $ids, as flat lists per type: the node, the
// relationship, its other end, and the key that a sample is drawn by. A loop stands once.
UNWIND $ids AS i
MATCH (a) WHERE id(a) = i
MATCH (a)-[r]-(b) WHERE type(r) IN $verbs
RETURN type(r) AS verb, collect(i) AS nodes, collect(id(r)) AS relationships, collect(id(b)) AS ends,
  collect(coalesce(r.edge_key, id(r))) AS keys
