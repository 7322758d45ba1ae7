"""What a new description of the API would break for those who were built on the old one, in sentences.

A caller is broken by what is refused now and was not, a reader by what is missing in an answer or told in another
form. More than before never is: new operations, optional members of requests, members of answers, words in answers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from re import sub
from typing import Any, Literal

Json = dict[str, Any]
Direction = Literal["request", "answer"]

_METHODS = ("get", "put", "post", "patch", "delete")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def breaking_changes(old: Json, new: Json) -> list[str]:
    """One sentence for each thing that breaks, in the order of the old document; none when clients go on."""
    comparison = _Comparison(old, new)
    return list(dict.fromkeys([*comparison.operations(), *comparison.webhooks()]))


@dataclass(frozen=True)
class _Place:
    """Where in an operation the two schemas stand: `where` begins the sentence, `path` names the member."""

    where: str
    path: str = ""

    def member(self, name: str) -> "_Place":
        return _Place(self.where, f"{self.path}.{name}" if self.path else name)

    @property
    def items(self) -> "_Place":
        return _Place(self.where, f"{self.path}[]")

    @property
    def named(self) -> str:
        return f"`{self.path}`" if self.path else "the body"


class _Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self._old = old
        self._new = new
        self._open: set[tuple[int, int, str]] = set()
        self._touched = _touched(_named(old), _named(new))

    def operations(self) -> Iterator[str]:
        there = {(method, _template(path)): told for method, path, told in _operations(self._new, "paths")}
        for method, path, old in _operations(self._old, "paths"):
            name = f"{method.upper()} {path}"
            new = there.get((method, _template(path)))
            if new is None:
                yield f"{name}: is gone."
                continue
            if old.get("operationId") != new.get("operationId"):
                yield f"{name}: its operationId was {old.get('operationId')} and is {new.get('operationId')}."
            if new.get("security", self._new.get("security", [])) and not old.get(
                "security", self._old.get("security", [])
            ):
                yield f"{name}: needs credentials now."
            yield from self._parameters(name, old, new)
            yield from self._request(name, old.get("requestBody"), new.get("requestBody"))
            yield from self._answers(name, old.get("responses", {}), new.get("responses", {}))

    def webhooks(self) -> Iterator[str]:
        there = {(method, name): told for method, name, told in _operations(self._new, "webhooks")}
        for method, type, old in _operations(self._old, "webhooks"):
            new = there.get((method, type))
            if new is None:
                yield f"message {type}: is never sent any more."
                continue
            headers = {one["name"].lower() for one in new.get("parameters", ())}
            for one in old.get("parameters", ()):
                if one["name"].lower() not in headers:
                    yield f"message {type}: has no header {one['name']} any more."
            yield from self._contents(
                f"message {type}", old.get("requestBody", {}), new.get("requestBody", {}), "answer"
            )

    def _parameters(self, name: str, old: Json, new: Json) -> Iterator[str]:
        before = {(one["in"], one["name"].lower()): one for one in old.get("parameters", ())}
        after = {(one["in"], one["name"].lower()): one for one in new.get("parameters", ())}
        for key, one in before.items():
            if key[0] == "path":
                continue
            if key not in after:
                yield f"{name}: no longer takes the {key[0]} parameter `{one['name']}`."
                continue
            if after[key].get("required") and not one.get("required"):
                yield f"{name}: the {key[0]} parameter `{one['name']}` is now required."
        for key, one in after.items():
            if key not in before and key[0] != "path" and one.get("required"):
                yield f"{name}: the new {key[0]} parameter `{one['name']}` is required."
        for (kind, _), one in before.items():
            match = after.get((kind, one["name"].lower()))
            if match is not None:
                place = _Place(f"{name}: the {kind} parameter", one["name"])
                yield from self._schemas(place, one.get("schema", {}), match.get("schema", {}), "request")

    def _request(self, name: str, old: Json | None, new: Json | None) -> Iterator[str]:
        if old is None:
            if new is not None and new.get("required"):
                yield f"{name}: a body is now required."
            return
        if new is None:
            yield f"{name}: no longer takes a body."
            return
        if new.get("required") and not old.get("required"):
            yield f"{name}: a body is now required."
        yield from self._contents(f"{name}: the request", old, new, "request")

    def _answers(self, name: str, old: Json, new: Json) -> Iterator[str]:
        for status, told in old.items():
            if status not in new:
                # A refusal that no longer happens breaks nobody.
                if status < "400":
                    yield f"{name}: never answers {status} any more."
                continue
            for header in told.get("headers", {}):
                if header.lower() not in {one.lower() for one in new[status].get("headers", {})}:
                    yield f"{name}: the answer {status} no longer has the header {header}."
            yield from self._contents(f"{name}: the answer {status}", told, new[status], "answer")

    def _contents(self, where: str, old: Json, new: Json, direction: Direction) -> Iterator[str]:
        after = new.get("content", {})
        for media_type, told in old.get("content", {}).items():
            if media_type not in after:
                yield f"{where} is no longer {media_type}."
                continue
            yield from self._schemas(
                _Place(where), told.get("schema", {}), after[media_type].get("schema", {}), direction
            )

    def _schemas(self, place: _Place, old: Json, new: Json, direction: Direction) -> list[str]:
        """The changes of two schemas. A schema that holds itself is compared once on each way down."""
        if old == new and not self._touched.intersection(_references(old)):
            return []
        key = (id(_resolved(self._old, old)), id(_resolved(self._new, new)), direction)
        if key in self._open:
            return []
        self._open.add(key)
        try:
            return self._alternatives(place, old, new, direction)
        finally:
            self._open.discard(key)

    def _alternatives(self, place: _Place, old: Json, new: Json, direction: Direction) -> list[str]:
        before, after = list(_alternatives(self._old, old)), list(_alternatives(self._new, new))
        found: list[str] = []
        if direction == "request":
            # Whatever could be sent must still be taken by one of the new forms.
            for one in before:
                fitting = [self._one(place, one, other, direction) for other in after if _takes(other, one)]
                refused = f"{place.where} no longer takes {_kind_of(one)} for {place.named}."
                found += min(fitting, key=len) if fitting else [refused]
            if "default" in old and new.get("default", ...) != old["default"]:
                found.append(f"{place.where}: {place.named} left out no longer means {old['default']!r}.")
            return found
        # Whatever may be told now must have been possible before.
        for one in after:
            fitting = [self._one(place, other, one, direction) for other in before if _takes(other, one)]
            unheard = f"{place.where} may now have {_kind_of(one)} for {place.named}."
            found += min(fitting, key=len) if fitting else [unheard]
        return found

    def _one(self, place: _Place, old: Json, new: Json, direction: Direction) -> list[str]:
        return [change for compare in self._COMPARE for change in compare(self, place, old, new, direction)]

    def _members(self, place: _Place, old: Json, new: Json, direction: Direction) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        required, was_required = set(new.get("required", ())), set(old.get("required", ()))
        for name, schema in before.items():
            if name in after:
                yield from self._schemas(place.member(name), schema, after[name], direction)
            elif direction == "request" and not new.get("additionalProperties"):
                yield f"{place.where} no longer takes {place.member(name).named}."
            elif direction == "answer":
                yield f"{place.where} no longer has {place.member(name).named}."
        if direction == "request":
            for name in sorted(required - was_required):
                yield f"{place.where} now requires {place.member(name).named}."
            if new.get("additionalProperties") is False and old.get("additionalProperties", True) is not False:
                yield f"{place.where} no longer takes further members in {place.named}."
        else:
            for name in sorted((was_required - required) & set(after)):
                yield f"{place.where} may now lack {place.member(name).named}."
        one, other = old.get("additionalProperties"), new.get("additionalProperties")
        if isinstance(one, dict) and isinstance(other, dict):
            yield from self._schemas(place.member("*"), one, other, direction)

    def _elements(self, place: _Place, old: Json, new: Json, direction: Direction) -> Iterator[str]:
        if "items" in old or "items" in new:
            yield from self._schemas(place.items, old.get("items", {}), new.get("items", {}), direction)

    def _words(self, place: _Place, old: Json, new: Json, direction: Direction) -> Iterator[str]:
        before, after = _enum(old), _enum(new)
        if direction == "answer":
            return
        if after is not None and before is None:
            yield f"{place.where} takes only {', '.join(map(repr, after))} for {place.named} now."
        elif after is not None and before is not None:
            for word in before:
                if word not in after:
                    yield f"{place.where} no longer takes {word!r} for {place.named}."

    def _bounds(self, place: _Place, old: Json, new: Json, direction: Direction) -> Iterator[str]:
        if direction == "answer":
            return
        for bounds, narrower in ((_LOWER, float.__gt__), (_UPPER, float.__lt__)):
            for name in bounds:
                if name in new and (name not in old or narrower(float(new[name]), float(old[name]))):
                    yield f"{place.where}: {name} of {place.named} was {old.get(name, 'open')} and is {new[name]}."
        if "multipleOf" in new and new["multipleOf"] != old.get("multipleOf"):
            yield f"{place.where}: {place.named} must now be a multiple of {new['multipleOf']}."

    def _forms(self, place: _Place, old: Json, new: Json, direction: Direction) -> Iterator[str]:
        for name in ("pattern", "format"):
            if direction == "request" and name in new and new[name] != old.get(name):
                yield f"{place.where}: {place.named} must now have the {name} {new[name]}."
            if direction == "answer" and name in old and new.get(name) != old[name]:
                yield f"{place.where}: {place.named} no longer has the {name} {old[name]}."

    _COMPARE: tuple[Callable[["_Comparison", _Place, Json, Json, Direction], Iterator[str]], ...] = (
        _members,
        _elements,
        _words,
        _bounds,
        _forms,
    )


def _named(document: Json) -> Json:
    found: Json = document.get("components", {}).get("schemas", {})
    return found


def _references(schema: Any) -> set[str]:
    """Names of the schemas that one refers to, itself and by its members."""
    match schema:
        case {"$ref": str(reference)}:
            return {reference.rpartition("/")[2]}
        case dict():
            return {name for member in schema.values() for name in _references(member)}
        case list():
            return {name for member in schema for name in _references(member)}
        case _:
            return set()


def _touched(old: Json, new: Json) -> set[str]:
    """Names of the schemas that changed, or that lead to one that did: only these have to be walked."""
    found = {name for name in old if old[name] != new.get(name)}
    leads_to = {name: _references(schema) for name, schema in old.items()}
    more = True
    while more:
        further = {name for name, named in leads_to.items() if named & found} - found
        found |= further
        more = bool(further)
    return found


def _operations(document: Json, section: str) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document.get(section, {}).items():
        for method in _METHODS:
            if method in methods:
                yield method, path, methods[method]


def _template(path: str) -> str:
    """The name of what stands in a path is nobody's business but the document's."""
    return sub(r"\{[^}]*\}", "{}", path)


def _resolved(document: Json, schema: Json) -> Json:
    seen = 0
    while "$ref" in schema and seen < 20:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema, seen = found, seen + 1
    return schema


def _alternatives(document: Json, schema: Json) -> Iterator[Json]:
    """The forms that a schema allows, each of one type."""
    schema = _resolved(document, schema)
    forms = schema.get("anyOf") or schema.get("oneOf")
    if forms:
        for one in forms:
            yield from _alternatives(document, one)
    elif isinstance(schema.get("type"), list):
        for type in schema["type"]:
            yield {**schema, "type": type}
    else:
        yield schema


def _kind(schema: Json) -> str:
    """`anything` for a schema that names no type."""
    if "type" in schema:
        return str(schema["type"])
    if "properties" in schema:
        return "object"
    words = _enum(schema)
    if not words:
        return "anything"
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return names.get(type(words[0]), "anything")


def _kind_of(schema: Json) -> str:
    kind = _kind(schema)
    return kind if kind in ("null", "anything") else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _takes(wider: Json, narrower: Json) -> bool:
    """Whether the type of the second is one of the first's."""
    one, other = _kind(wider), _kind(narrower)
    return one in ("anything", other) or (one, other) == ("number", "integer")


def _enum(schema: Json) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found: list[Any] | None = schema.get("enum")
    return found
