// Entities with the label $label that hold an xref: $xrefs has rows of [xref, the same as a quoted full-text term].
UNWIND $xrefs AS xref
CALL db.index.fulltext.queryNodes('entity_xrefs', xref[1]) YIELD node
WHERE $label IN labels(node) AND xref[0] IN node.xrefs
RETURN collect([xref[0], node.id]) AS pairs
