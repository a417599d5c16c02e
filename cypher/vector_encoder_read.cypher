// Which encoder the vectors of the graph are of.
MATCH (e:Encoder {property: 'text_embedding'})
RETURN e.name AS name, e.revision AS revision, e.dimension AS dimension, e.folder AS folder, e.imported AS imported,
  e.replacing AS replacing
