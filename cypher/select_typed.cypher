// Never run: whether the server plans it says whether a column can hold what {{function}}() takes.
CALL () {
{{query}}
}
RETURN {{function}}({{column}}) AS x
