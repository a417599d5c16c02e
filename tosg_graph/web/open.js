// Browser keeps saved scripts in the storage of its own address, which is this page's too. Ours replace those that
// an earlier version left; all others stay.
const saved = /*SAVED*/ [];

function stored(key) {
  try {
    const found = JSON.parse(localStorage.getItem("neo4j." + key));
    return Array.isArray(found) ? found : [];
  } catch (error) {
    return [];
  }
}

function keep(key, ours) {
  const others = stored(key).filter((entry) => !String(entry.id).startsWith("tosg"));
  localStorage.setItem("neo4j." + key, JSON.stringify(others.concat(ours)));
}

keep("folders", [{ id: "tosg", name: "tosg-graph" }]);
keep("documents", saved);
location.replace("/browser/" + location.search);
