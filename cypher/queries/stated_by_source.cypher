// topic: sources
// title: What does a source state?
// description: Relationships of the source by verb and kind of ends, with the first example. Reads every relationship of the graph.
// param: source string — key of the source (`tosg load --list`) or of a resource that one carries
// example: source="cellphonedb"
MATCH (a)-[r]->(b)
WHERE r.source = $source AND ($sources IS NULL OR r.source IN $sources)
WITH [l IN labels(a) WHERE l <> 'Entity'] AS subjects, type(r) AS verb, [l IN labels(b) WHERE l <> 'Entity'] AS objects,
     count(*) AS relationships, count(DISTINCT a) AS distinct_subjects, count(DISTINCT b) AS distinct_objects,
     min([a.id, b.id]) AS example
OPTIONAL MATCH (s:Source {key: $source})
RETURN verb, subjects, objects, relationships, distinct_subjects, distinct_objects,
       example[0] AS example_subject, example[1] AS example_object,
       s.title AS title, s.version AS version, s.licence AS licence
ORDER BY verb, subjects, objects
