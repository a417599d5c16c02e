// Every relationship among the nodes $ids, as flat lists of internal ids.
UNWIND $ids AS i
MATCH (a) WHERE id(a) = i
MATCH (a)-[r]->(b)
WITH r, b WHERE id(b) IN $ids
RETURN type(r) AS verb, id(r) / $chunk AS chunk, collect(id(r)) AS ids
