// How many relationships each verb in $verbs has.
MATCH ()-[r]->()
WHERE type(r) IN $verbs
RETURN type(r) AS verb, count(*) AS relationships
ORDER BY relationships DESC, verb
