// The newest release, if there is one.
MATCH (r:Release)
RETURN r.id AS id, r.number AS number, r.contents AS contents
ORDER BY r.number DESC
LIMIT 1
