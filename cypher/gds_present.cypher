// Labels and verbs that occur: a projection may name no others.
CALL () { CALL db.labels() YIELD label RETURN collect(label) AS labels }
CALL () { CALL db.relationshipTypes() YIELD relationshipType RETURN collect(relationshipType) AS verbs }
RETURN labels, verbs
