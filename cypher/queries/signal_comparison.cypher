// topic: findings
// title: What do groups of a comparison share, and what is specific to one?
// description: Findings of a comparison that `tosg signal compare --write` wrote: in which groups each is found, and how much it differs there.
// param: run string = "" — id of the comparison (`tosg signal list`); the newest without it
// param: sharing string = "" — shared, specific, opposite, unclear or "tested in one"; all without it
// example: sharing="shared"
CALL () {
  MATCH (c:Run {kind: 'comparison'})
  WHERE c.complete AND $run IN ['', c.id]
  RETURN c ORDER BY c.number DESC LIMIT 1
}
MATCH (a:Entity)-[f:SIGNAL_FOUND {run: c.id}]->(b:Entity)
WHERE $sharing IN ['', f.sharing] AND ($sources IS NULL OR any(s IN coalesce(f.sources, a.sources) WHERE s IN $sources))
CALL (c, a, f, b) {
  MATCH (c)-[g:GROUP]->(r:Run)
  MATCH (a)-[x:SIGNAL_FOUND {run: r.id, kind: f.kind}]->(b)
  WHERE coalesce(x.verb, '') = coalesce(f.verb, '') AND coalesce(x.sign, 0) = coalesce(f.sign, 0)
  WITH g.name + ': ' + toString(round(x.difference, 3)) AS said ORDER BY said
  RETURN collect(said) AS differences
}
RETURN c.id AS run, f.kind AS kind, f.sharing AS sharing, a.id AS source, a.name AS source_name, f.verb AS verb, f.sign AS sign,
       b.id AS target, b.name AS target_name, f.groups AS groups, differences, f.q AS q
ORDER BY CASE kind WHEN 'pathway' THEN 0 WHEN 'edge' THEN 1 ELSE 2 END, sharing, size(groups) DESC, q, source, target, verb, sign
