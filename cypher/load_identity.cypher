// Entities with the label $label that others than $sources state, or nobody: who states them, and their xrefs
// whose prefix is in $prefixes; what nobody states claims nothing.
MATCH (n:Entity)
WHERE $label IN labels(n) AND (n.sources = [] OR any(source IN n.sources WHERE NOT source IN $sources))
RETURN n.id AS id, n.sources AS sources,
  CASE WHEN n.sources = [] THEN [] ELSE [xref IN n.xrefs WHERE split(xref, ':')[0] IN $prefixes] END AS xrefs
