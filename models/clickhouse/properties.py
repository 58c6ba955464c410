"""Properties of events in a statement: the text of a scalar, as filters, groups and values read it.

The same rule as billing.event_values.property_text: a property of that very name, else along the dots into objects.
"""

from typing import Any, Final

_NO_TEXT: Final = "('Null', 'Object', 'Array')"


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
