// Every release of the graph, newest first: number, id, previous, and the sources it held with their versions.
MATCH (r:Release)
RETURN r.number AS number, r.id AS id, r.previous AS previous, r.source_versions AS sources
ORDER BY number DESC
