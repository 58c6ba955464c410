"""Properties of events in a statement: the text of a scalar, as filters, groups and values read it.

The same rule as billing.event_values.property_text: a property of that very name, else along the dots into objects.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

_NO_TEXT: Final = "('Null', 'Object', 'Array')"
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def texts_sql(keys: Sequence[str], name: str, bound: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The texts of several properties: columns that must stand before them, and one text a key, as `text_sql` says.

    Every function of a JSON text parses all of it, so properties with a plain name are taken out together. Out of a
    tuple an object comes as text, too: what looks like one is asked for its type, in texts that are mostly empty.
    """
    plain = [place for place, key in enumerate(keys) if _PLAIN_KEY.fullmatch(key)]
    if len(plain) < 2:
        return [], [text_sql(key, f"{name}_{place}", bound) for place, key in enumerate(keys)]
    texts = []
    for place, key in enumerate(keys):
        if place in plain:
            taken = f"scalars.{plain.index(place) + 1}"
            texts.append(f"if({_nested(taken)} AND JSONType(suspect, '{key}') != 'String', NULL, {taken})")
        else:
            texts.append(text_sql(key, f"{name}_{place}", bound))
    held = ", ".join(f"`{keys[place]}` Nullable(String)" for place in plain)
    any_nested = " OR ".join(_nested(f"scalars.{position}") for position in range(1, len(plain) + 1))
    return [
        f"JSONExtract(properties, 'Tuple({held})') AS scalars",
        f"if({any_nested}, properties, '') AS suspect",
    ], texts


def _nested(text: str) -> str:
    """Whether it looks like an object or an array; a string may, too."""
    return f"ifNull(substring({text}, 1, 1) IN ('{{', '['), 0)"


def text_sql(key: str, name: str, bound: dict[str, Any]) -> str:
    """The text of the property `key`, or NULL where there is none; binds it as `name`, the parts of a path after it."""
    bound[name] = key
    whole = f"properties, {{{name}:String}}"
    if "." not in key:
        return f"if(JSONType({whole}) NOT IN {_NO_TEXT}, JSONExtractString({whole}), NULL)"
    parts = {f"{name}_{place}": part for place, part in enumerate(key.split("."))}
    bound |= parts
    path = ", ".join(["properties", *(f"{{{part}:String}}" for part in parts)])
    return (
        f"multiIf(JSONType({whole}) NOT IN {_NO_TEXT}, JSONExtractString({whole}), "
        f"JSONType({whole}) = 'Null' AND JSONType({path}) NOT IN {_NO_TEXT}, JSONExtractString({path}), NULL)"
    )
