// As select_edges, where some relationships of the chunk lack a property that others have: a list per relationship.
UNWIND $ids AS i
MATCH (a)-[r]->(b) WHERE id(r) = i
WITH id(a) AS s, id(b) AS t, properties(r) AS p, CASE WHEN $with_ids THEN i END AS i
RETURN [k IN $grouped | p[k]] AS constant, collect(s) AS starts, collect(t) AS ends, collect(i) AS ids,
  collect([k IN $listed | p[k]]) AS rows
