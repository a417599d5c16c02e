// topic: sources
// title: Who states a relationship between two entities, on which evidence, under which licence?
// description: Every relationship between the two, in either direction; a gene stands for its proteins too. `details` is all else that the source gives.
// param: first string — id or gene symbol of one end
// param: second string — id or gene symbol of the other end
// example: first="IFNG" second="IFNGR1"
CALL () {
  UNWIND [[1, $first], [2, $second]] AS end
  MATCH (n:Entity {id: end[1]})
  RETURN end[0] AS number, n
  UNION
  UNWIND [[1, $first], [2, $second]] AS end
  MATCH (n:Gene)
  WHERE n.symbol IN [end[1], toUpper(end[1])]
  RETURN end[0] AS number, n
}
CALL (n) {
  RETURN n AS same
  UNION
  MATCH (n)-[e:ENCODES]->(same:Protein)
  WHERE all(x IN [e] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN same
}
WITH collect(DISTINCT CASE number WHEN 1 THEN same END) AS firsts, collect(DISTINCT CASE number WHEN 2 THEN same END) AS seconds
UNWIND firsts AS a
MATCH (a)-[r:!SIGNAL_FOUND]-(b:Entity)
WHERE b IN seconds AND ($sources IS NULL OR r.source IN $sources)
WITH DISTINCT r
OPTIONAL MATCH (s:Source {key: r.source})
CALL (r) {
  UNWIND [k IN keys(r) WHERE NOT k IN ['edge_key', 'source', 'resource']] AS key
  WITH key ORDER BY key
  RETURN collect(key + ': ' + CASE WHEN valueType(r[key]) STARTS WITH 'LIST'
    THEN reduce(text = '', v IN r[key] | text + CASE text WHEN '' THEN '' ELSE ', ' END + v) ELSE toString(r[key]) END) AS details
}
WITH startNode(r) AS subject, r, endNode(r) AS object, s, details
RETURN subject.id AS subject, type(r) AS verb, object.id AS object, r.source AS source, s.carried_by AS carried_by,
       s.version AS version, s.licence AS licence, details
ORDER BY verb, source, subject, object, details
