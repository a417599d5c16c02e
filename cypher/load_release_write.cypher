// Record a load, all of it or nothing: the sources it read, the resources they carry, and the release it makes.
CALL () {
  UNWIND $sources AS source
  MERGE (s:Source {key: source.key})
  SET s += source
}
CALL () {
  UNWIND $resources AS resource
  MERGE (s:Source {key: resource.key})
  ON CREATE SET s += resource
}
MERGE (r:Release {id: $release.id})
SET r += $release
