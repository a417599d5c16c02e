// Every relationship among the nodes $ids, as flat lists of internal ids; of the types $verbs alone where it is a list.
UNWIND $ids AS i
MATCH (a) WHERE id(a) = i
MATCH (a)-[r]->(b)
WITH r, b WHERE id(b) IN $ids AND ($verbs IS NULL OR type(r) IN $verbs)
RETURN type(r) AS verb, id(r) / $chunk AS chunk, collect(id(r)) AS ids
