// Genes that are transcribed to what some proteins are translated from, and who states both steps, as flat lists.
UNWIND $ids AS id
MATCH (:Entity {id: id})<-[s:TRANSLATED_TO]-(:Transcript)<-[r:TRANSCRIBED_TO]-(g:Gene)
WHERE NOT coalesce(r.negated, false) AND NOT coalesce(s.negated, false)
RETURN collect(id) AS nodes, collect(g.id) AS genes,
  collect(coalesce(r.source, '')) AS sources, collect(coalesce(r.licence, '')) AS licences,
  collect(coalesce(s.source, '')) AS then_sources, collect(coalesce(s.licence, '')) AS then_licences
