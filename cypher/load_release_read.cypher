// The newest release, if there is one, and the ids of all.
MATCH (r:Release)
WITH r ORDER BY r.number DESC
WITH collect(r) AS releases
UNWIND releases[..1] AS r
RETURN r.id AS id, r.number AS number, r.previous AS previous, r.contents AS contents, r.ledger AS ledger, r.counts AS counts, r.format AS format,
  [release IN releases | release.id] AS releases
