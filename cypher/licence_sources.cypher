// Each source, its licence, and those licences that single statements of it have. What a source carries is under the
// licence of its carrier, unless it has its own.
MATCH (s:Source)
OPTIONAL MATCH (c:Source {key: s.carried_by})
RETURN s.key AS key, s.carried_by AS carrier, coalesce(s.licence, c.licence) AS licence,
  coalesce(s.licences, c.licences, []) AS licences
