MERGE (e:Encoder {property: 'text_embedding'})
SET e += $encoder
