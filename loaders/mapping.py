"""Any table as a knowledge source: what a mapping YAML says, read strictly. See ``docs/your-own-table.md``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from loaders.mapping_rules import Condition, FileRule, Lookup, Part, TableRule, Value
from tosg_graph.contract import allows, id_prefixes, labels, verbs
from tosg_graph.errors import LoadError
from tosg_graph.types import PackageFile, Parsed, Source, SourceFile, UserFile, WebFile

_KEY = re.compile(r"[a-z][a-z0-9_]*")
_TESTS = ("is", "is_not", "matches", "at_least", "at_most")


class Mapping:
    """A source that a YAML file describes; stands in `loaders.LOADERS` like any module."""

    def __init__(self, path: Path) -> None:
        self.__name__ = f"loaders.{path.stem}"
        self.path = path
        read = _Reader(path.name)
        content = read.document(path)
        self.SOURCE: Source = read.source(content)
        self.files: dict[str, FileRule] = read.files
        self.nodes, self.edges = read.tables(content)
        self.__doc__ = content.get("gives") or f"{self.SOURCE.title}."

    def parse(self, paths: dict[str, Path]) -> Parsed:
        """Parse the files into the tables of the mapping, in its order."""
        from loaders.mapped_files import Files
        from loaders.mapped_rows import parsed

        files = Files(paths, self.files, [*self.nodes, *self.edges])
        return parsed(self.SOURCE.key, self.nodes, self.edges, files)


def built_in() -> list[Mapping]:
    """Mappings that come with the program, by name."""
    return [Mapping(path) for path in sorted((Path(__file__).parent / "mappings").glob("*.yaml"))]


# --------------------------------------------------------------------------- reading the YAML


class _Unique(yaml.BaseLoader):
    """YAML whose values are all text, so that ``version: 2015`` and ``NOT`` stay what they are."""


def _mapping_without_repeats(loader: _Unique, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [key.value for key, _ in node.value]
    for name in names:
        if names.count(name) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"key {name!r} occurs twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Unique.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_repeats)

_TOP = (
    *("key", "title", "version", "licence", "homepage", "note", "terms", "gives", "size_mb"),
    *("knowledge_level", "files", "nodes", "edges"),
)
_SAID = ("key", "title", "version", "licence", "note", "terms", "knowledge_level")
_FILE = ("file", "url", "sha256", "homepage", "package", "format", "columns", "quoted")
_PACKAGE = ("name", "version", "archive", "archive_sha256", "member")
_VALUE = ("from", "split", "pattern", "lookup", "map", "else", "join")
_SHARED = ("table", "file", "let", "where", "by", "cases", "properties")
_NODE, _EDGE = (*_SHARED, "label", "id"), (*_SHARED, "subject", "verb", "object")


class _Reader:
    """Turns the content of one YAML file into rules; every message says where in the file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.files: dict[str, FileRule] = {}

    def _error(self, where: str, said: str) -> LoadError:
        return LoadError(f"{self._name}: {where}: {said}" if where else f"{self._name}: {said}")

    def document(self, path: Path) -> dict[str, Any]:
        """Content of the file."""
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Unique)
        except (OSError, UnicodeDecodeError) as e:
            raise LoadError(f"{path}: cannot be read ({e}); give another file.") from e
        except yaml.YAMLError as e:
            said = " ".join(str(e).split())
            raise self._error("", f"is not YAML ({said[:200]}); correct it.") from e
        return self._dict("", content, _TOP, ("key", "title", "version", "licence", "files"))

    def _dict(
        self, where: str, given: Any, allowed: Sequence[str] | None = None, required: Sequence[str] = ()
    ) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise self._error(where, f"{given!r} is not a mapping; write `name: value` lines.")
        for name in given if allowed is not None else ():
            if name not in (allowed or ()):
                self._unknown(where, "key", name, allowed or ())
        for name in required:
            if not given.get(name):
                raise self._error(where, f"{name!r} is missing; add it.")
        return given

    def _unknown(self, where: str, what: str, name: str, known: Sequence[str]) -> None:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
        raise self._error(where, f"{what} {name!r} is unknown; {hint}")

    def _text(self, where: str, given: Any) -> str:
        if not isinstance(given, str):
            raise self._error(where, f"{given!r} is not a text; write one.")
        return given

    def _texts(self, where: str, given: Any) -> tuple[str, ...]:
        return tuple(self._text(where, x) for x in (given if isinstance(given, list) else [given]))

    # ----------------------------------------------------------------- source and files

    def source(self, content: dict[str, Any]) -> Source:
        """What is true of the whole source."""
        if not _KEY.fullmatch(content["key"]):
            raise self._error(
                "key", f"{content['key']!r} is not lower-case letters, digits and `_`; rename it."
            )
        homepage = content.get("homepage", "")
        size = content.get("size_mb", "0")
        if not re.fullmatch(r"[0-9.]+", size):
            raise self._error("size_mb", f"{size!r} is not a number; correct it.")
        files = self._dict("files", content["files"])
        locations = {
            name: self._file(f"files.{name}", name, given, homepage) for name, given in files.items()
        }
        defaults = {"note": "", "terms": "", "knowledge_level": "knowledge_assertion"}
        said = {
            name: self._text(name, text) for name, text in {**defaults, **content}.items() if name in _SAID
        }
        return Source(
            key=said["key"],
            title=said["title"],
            version=said["version"],
            licence=said["licence"],
            homepage=homepage,
            size_mb=float(size),
            files=locations,
            in_demo=False,
            knowledge_level=said["knowledge_level"],
            note=said["note"],
            terms=said["terms"],
            own_licences=any(
                "licence" in (table.get("properties") or {})
                for kind in ("nodes", "edges")
                for table in content.get(kind) or []
                if isinstance(table, dict)
            ),
        )

    def _file(self, where: str, name: str, given: Any, homepage: str) -> SourceFile:
        if isinstance(given, str):
            given = {"file": given}
        self._dict(where, given, _FILE, ("file",))
        kind = given.get("format", "")
        if kind not in ("", "tsv", "csv", "json") and len(kind) != 1:
            raise self._error(where, f"format {kind!r} is not tsv, csv, json or one separating character.")
        quoted = {"": None, "true": True, "false": False}.get(given.get("quoted", ""), kind)
        if isinstance(quoted, str):
            raise self._error(where, f"quoted {given['quoted']!r} is not true or false; correct it.")
        self.files[name] = FileRule(kind, self._texts(where, given.get("columns", [])), quoted)
        if "package" in given:
            box = self._dict(f"{where}.package", given["package"], _PACKAGE, _PACKAGE)
            return PackageFile(
                **{("package" if name == "name" else name): box[name] for name in _PACKAGE},
                in_folder=given["file"],
            )
        if "url" in given:
            return WebFile(given["url"], given["file"], given.get("sha256"))
        return UserFile(given["file"], given.get("homepage", homepage))

    # ----------------------------------------------------------------- tables

    def tables(self, content: dict[str, Any]) -> tuple[list[TableRule], list[TableRule]]:
        """Rules of all tables, nodes and edges."""
        found: dict[str, list[TableRule]] = {"nodes": [], "edges": []}
        names: list[str] = []
        for kind, rules in found.items():
            given = content.get(kind, [])
            if not isinstance(given, list):
                raise self._error(kind, "is not a list of tables; start each with `- table: name`.")
            for number, rule in enumerate(given, start=1):
                name = rule.get("table", number) if isinstance(rule, dict) else number
                rules.append(self._table(f"{kind}, table {name}", rule, _NODE if kind == "nodes" else _EDGE))
                names.append(rules[-1].name)
        if not names:
            raise self._error("", "has neither nodes nor edges; add a table.")
        for name in names:
            if names.count(name) > 1:
                raise self._error(f"table {name}", "is there twice; rename one.")
        return found["nodes"], found["edges"]

    def _table(self, where: str, given: Any, allowed: Sequence[str]) -> TableRule:
        self._dict(where, given, allowed, ("table", "file"))
        if given["file"] not in self.files:
            self._unknown(where, "file", given["file"], list(self.files))
        if ("by" in given) != ("cases" in given):
            raise self._error(where, "`by` and `cases` belong together; give both or none.")
        if "by" not in given:
            return self._rule(where, given, allowed)
        shared = {k: v for k, v in given.items() if k not in ("by", "cases")}
        cases: dict[str, TableRule | str] = {}
        for value, more in self._dict(f"{where}, cases", given["cases"]).items():
            at = f"{where}, case {value}"
            if isinstance(more, str):
                cases[value] = more
                continue
            own = _overlay(
                shared, self._dict(at, more, [k for k in allowed if k not in ("by", "cases", "file")])
            )
            own["table"] = more.get("table", f"{given['table']}_{re.sub('[^0-9a-z]+', '_', value.lower())}")
            cases[value] = self._rule(at, own, allowed)
        rules = [case for case in cases.values() if isinstance(case, TableRule)]
        if not rules:
            raise self._error(where, "every case is a reason; describe at least one.")
        return TableRule(
            given["table"],
            given["file"],
            rules[0].labels,
            rules[0].verb,
            {},
            {},
            let=self._values(where, shared, "let"),
            where=self._conditions(where, shared),
            by=self._value(f"{where}, by", given["by"]),
            cases=cases,
        )

    def _rule(self, where: str, given: dict[str, Any], allowed: Sequence[str]) -> TableRule:
        is_edge = "verb" in allowed
        ids, ends, verb = {}, [], None
        if is_edge:
            for end in ("subject", "object"):
                at = f"{where}, {end}"
                box = self._dict(at, given.get(end, {}), ("label", "id"), ("label", "id"))
                ends.append(self._known(at, "label", box["label"], labels()))
                ids[end] = self._value(f"{at} id", box["id"])
            verb = self._known(where, "verb", given.get("verb", ""), verbs())
            if not allows(verb, *ends):
                raise self._error(where, f"{verb} from {ends[0]} to {ends[1]} is not in schema/edges.yaml.")
        else:
            ends.append(self._known(where, "label", given.get("label", ""), labels()))
            ids["id"] = self._value(f"{where}, id", given.get("id", ""))
            self._check_prefix(where, ends[0], ids["id"])
        rule = TableRule(
            given["table"],
            given["file"],
            tuple(ends),
            verb,
            ids,
            self._values(where, given, "properties"),
            self._values(where, given, "let"),
            self._conditions(where, given),
        )
        self._check_properties(where, rule)
        return rule

    def _known(self, where: str, what: str, name: str, known: Sequence[str]) -> str:
        if name not in known:
            self._unknown(where, what, name, known)
        return name

    def _check_prefix(self, where: str, label: str, id_: Value) -> None:
        for part in id_.parts:
            prefix, colon, _ = part.prefix.partition(":")
            if colon and prefix not in id_prefixes(label):
                self._unknown(where, f"id prefix of {label}", prefix, id_prefixes(label))

    def _check_properties(self, where: str, rule: TableRule) -> None:
        kinds = {k: v for k, v in rule.kinds().items() if k not in ("id", "subject", "object")}
        for name, value in rule.properties.items():
            if name not in kinds:
                self._unknown(where, "property", name, list(kinds))
            split = any(part.split for part in value.parts)
            if split and kinds[name] != "list" and value.join is None:
                raise self._error(
                    where, f"property {name!r} holds one value; add `join` or leave `split` out."
                )
        for name in rule.required()[2:] if rule.verb else ():  # after subject and object
            if name not in rule.properties:
                raise self._error(where, f"{rule.verb} needs the property {name!r}; add it.")

    def _values(self, where: str, given: dict[str, Any], name: str) -> dict[str, Value]:
        found = self._dict(f"{where}, {name}", given.get(name, {}))
        return {column: self._value(f"{where}, {name} {column}", value) for column, value in found.items()}

    def _value(self, where: str, given: Any) -> Value:
        if isinstance(given, list):
            return Value(tuple(part for one in given for part in self._value(where, one).parts))
        if isinstance(given, str):
            if not given:
                raise self._error(where, "is missing or empty; give a text such as 'NCBIGene:{entrez}'.")
            return Value((Part(given),))
        self._dict(where, given, _VALUE, ("from",))
        lookup = None
        if "lookup" in given:
            names, at = ("file", "key", "value"), f"{where}, lookup"
            box = self._dict(at, given["lookup"], (*names, "where"), names)
            only = self._dict(f"{at}, where", box.get("where", {}))
            lookup = Lookup(box["file"], box["key"], box["value"], tuple(only.items()))
            self._known(where, "file", lookup.file, list(self.files))
        pattern = given.get("pattern")
        part = Part(
            self._text(where, given["from"]),
            self._texts(where, given.get("split", [])),
            None if pattern is None else self._pattern(where, pattern),
            lookup,
            self._dict(f"{where}, map", given["map"]) if "map" in given else None,
            given.get("else"),
        )
        if (part.split or pattern or lookup or part.map) and len(part.columns) != 1:
            raise self._error(
                where,
                f"{part.template!r} has {len(part.columns)} columns; split, pattern, lookup and map take one.",
            )
        return Value((part,), given.get("join"))

    def _pattern(self, where: str, given: str) -> str:
        """Return the expression with one named group: what it finds."""
        try:
            groups = re.compile(given).groups
        except re.error as e:
            raise self._error(where, f"pattern {given!r} is no regular expression ({e}); correct it.") from e
        if groups > 1:
            raise self._error(where, f"pattern {given!r} has {groups} groups; mark the wanted part with one.")
        return re.sub(r"(?<!\\)\((?!\?)", "(?P<found>", given) if groups else f"(?P<found>{given})"

    def _conditions(self, where: str, given: dict[str, Any]) -> tuple[Condition, ...]:
        found = given.get("where", [])
        return tuple(
            self._condition(f"{where}, where", c) for c in (found if isinstance(found, list) else [found])
        )

    def _condition(self, where: str, given: Any) -> Condition:
        self._dict(where, given, ("column", "reason", *_TESTS), ("column", "reason"))
        tests = [name for name in _TESTS if name in given]
        if len(tests) != 1:
            raise self._error(
                where, f"{given['column']} has {len(tests)} tests; give one of {', '.join(_TESTS)}."
            )
        test, allowed = tests[0], self._texts(where, given[tests[0]])
        if test in ("at_least", "at_most"):
            try:
                float(allowed[0])
            except ValueError as e:
                raise self._error(where, f"{test} {allowed[0]!r} is not a number; correct it.") from e
        if test == "matches":
            self._pattern(where, allowed[0])
        return Condition(given["column"], test, allowed, given["reason"])


def _overlay(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the shared description with a case's own: mappings are merged, anything else is replaced."""
    found = dict(shared)
    for name, value in own.items():
        both = isinstance(value, dict) and isinstance(found.get(name), dict)
        found[name] = _overlay(found[name], value) if both else value
    return found
