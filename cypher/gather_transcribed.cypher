// Genes that are transcribed to some transcripts, and who states it, as flat lists.
UNWIND $ids AS id
MATCH (:Entity {id: id})<-[r:TRANSCRIBED_TO]-(g:Gene)
WHERE NOT coalesce(r.negated, false)
RETURN collect(id) AS nodes, collect(g.id) AS genes,
  collect(coalesce(r.source, '')) AS sources, collect(coalesce(r.licence, '')) AS licences
