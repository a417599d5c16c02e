// topic: ligands and receptors
// title: Through which ligands and receptors may one cell type signal to another?
// description: Pairs of which the sender expresses the ligand and the receiver the receptor, kinds of either type included; `strength` is the product of the two means. Needs `tosg cells summarize`.
// param: sender string — name or id of the cell type that signals (T cell or CL:0000084)
// param: receiver string — name or id of the cell type that is signaled to
// param: min_pct int = 10 — least percentage of the cells of a type with a count, for either gene
// param: limit int = 200 — most rows
// example: sender="dendritic cell" receiver="T cell"
MATCH (s:CellType)
WHERE (toLower(s.name) = toLower($sender) OR s.id = $sender)
MATCH (sending:CellType)-[isa:IS_A*0..30]->(s)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH collect(DISTINCT sending) AS senders
MATCH (t:CellType)
WHERE (toLower(t.name) = toLower($receiver) OR t.id = $receiver)
MATCH (receiving:CellType)-[isa:IS_A*0..30]->(t)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH senders, collect(DISTINCT receiving) AS receivers
MATCH (l:Gene)-[le:EXPRESSED_IN]->(sending:CellType)
WHERE sending IN senders AND 100 * le.fraction >= $min_pct
  AND all(x IN [le] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
MATCH (l)-[up:ENCODES*0..1]->()-[pair:LIGAND_OF]->()<-[down:ENCODES*0..1]-(r:Gene)
WHERE all(x IN up + pair + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH receivers, sending, l, le, r, count(DISTINCT pair.source) AS resources
MATCH (r)-[re:EXPRESSED_IN]->(receiving:CellType)
WHERE receiving IN receivers AND 100 * re.fraction >= $min_pct
  AND all(x IN [re] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN l.id AS ligand, l.symbol AS ligand_symbol, r.id AS receptor, r.symbol AS receptor_symbol,
       sending.name AS sender, 100 * le.fraction AS ligand_pct, receiving.name AS receiver, 100 * re.fraction AS receptor_pct,
       le.mean * re.mean AS strength, resources
ORDER BY strength DESC, ligand_symbol, receptor_symbol, sender, receiver, ligand, receptor
LIMIT $limit
