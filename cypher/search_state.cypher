// Whether anything is loaded, and what made the vectors.
OPTIONAL MATCH (r:Release)
WITH count(r) > 0 AS loaded
OPTIONAL MATCH (e:Encoder {property: 'text_embedding'})
RETURN loaded, e {.name, .revision, .dimension, .folder, .imported, .replacing} AS encoder
