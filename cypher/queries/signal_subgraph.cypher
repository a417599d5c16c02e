// topic: findings
// title: What did a signaling run find?
// description: Pathways with the members that lead them, edges and nodes that `tosg signal --write` wrote of a run, the smallest q of each first.
// param: run string = "" — id of the run or comparison (`tosg signal list`); the newest without it
// example: run=""
CALL () {
  MATCH (r:Run)
  WHERE r.kind IN ['signal', 'comparison'] AND r.complete AND $run IN ['', r.id]
  RETURN r ORDER BY r.number DESC LIMIT 1
}
MATCH (a:Entity)-[f:SIGNAL_FOUND {run: r.id}]->(b:Entity)
WHERE $sources IS NULL OR any(s IN coalesce(f.sources, a.sources) WHERE s IN $sources)
RETURN r.id AS run, f.kind AS kind, a.id AS source, a.name AS source_name, f.verb AS verb, f.sign AS sign,
       b.id AS target, b.name AS target_name, f.difference AS difference, f.q AS q, f.sharing AS sharing, f.leading AS leading
ORDER BY CASE kind WHEN 'pathway' THEN 0 WHEN 'edge' THEN 1 ELSE 2 END, q, abs(difference) DESC, source, target, verb, sign
