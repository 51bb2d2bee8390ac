"""The JSON Schema of pipeline files, for editors. Made from the rows of `pipeline_keys`.

A schema sees one value at a time, so it accepts some files that `titan validate` refuses: unknown
jobs, cycles, missing files. It refuses no valid file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from titan.model.dag import MAX_JOBS, MAX_SECONDS
from titan.sdk import params
from titan.sdk.arrays import EXCLUDE, INCLUDE
from titan.sdk.failure_fields import Type
from titan.sdk.field_table import Form, Row, Use
from titan.sdk.fields import Integer
from titan.sdk.job import ROW_OF_KEY
from titan.sdk.limits import LIMITS
from titan.sdk.pipeline_keys import IGNORED, ROOT_ROWS

Schema = dict[str, Any]
DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_WORK: Final = ("file", "command", "pipeline")

_TEXT: Final[Schema] = {"type": "string"}
_WRITTEN: Final[Schema] = {"type": ["string", "number", "boolean"]}
"""A scalar that keeps its spelling."""
_PARAMETER: Final[Schema] = {"type": "string", "pattern": r"\$\{params\."}
"""A placeholder for a value that is no text."""


def _either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _mapping(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _only(**values: Schema) -> Schema:
    return {"type": "object", "properties": values, "additionalProperties": False}


_NUMBER: Final = _either({"type": "number"}, _PARAMETER)
_SECONDS: Final = _either(
    {"type": "number", "minimum": 0, "maximum": MAX_SECONDS},
    {"type": "string", "pattern": r"^\s*([0-9.]+\s*(w|d|h|m|s|ms)\s*)+$"},
    _PARAMETER,
)
_COUNT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_JOBS}
_FORMS: Final[Mapping[Form, Schema]] = {
    Form.TEXT: _TEXT,
    Form.PATH: _TEXT,
    Form.BOOLEAN: _either({"type": "boolean"}, _PARAMETER),
    Form.INTEGER: _either({"type": "integer"}, _PARAMETER),
    Form.NUMBER: _NUMBER,
    Form.SECONDS: _SECONDS,
    Form.SECONDS_OR_NULL: _either(_SECONDS, {"type": "null"}),
    Form.MOMENT: {"type": ["string", "number"]},
    Form.SIZE: {"type": ["string", "number"]},
    Form.ANY: {"type": ["string", "number", "boolean", "object"]},
    Form.TEXTS: _either(_TEXT, _list(_TEXT)),
    Form.ARGS: _either(_TEXT, _list(_WRITTEN)),
    Form.IDS: _either(_TEXT, _list(_TEXT)),
    Form.SECRETS: _list(_TEXT),
    Form.ENV: _mapping(_WRITTEN),
    Form.ITEMS: _either(_COUNT, _list(_either(_WRITTEN, _mapping(_WRITTEN))), _PARAMETER),
    Form.MATRIX: {**_mapping(_list(_WRITTEN)), "properties": dict.fromkeys((INCLUDE, EXCLUDE), _list(_mapping(_WRITTEN)))},
    Form.CODES: _list(_either({"type": "integer"}, _PARAMETER)),
    Form.ON_FAILURE: _either({"enum": ["cancel", "continue"]}, {**_only(run=_TEXT), "required": ["run"]}, _PARAMETER),
    Form.LIMITS: _only(**dict.fromkeys(LIMITS, _WRITTEN)),
    Form.CONDITION: {"type": ["string", "boolean"]},
    Form.CACHE: _either({"type": "boolean"}, _PARAMETER, _only(version=_WRITTEN, ignore=_list(_TEXT), **{"for": _SECONDS})),
    Form.OUTPUTS: {},
    Form.INPUTS: {},
}


def _files(key: str) -> Schema:
    """Return the schema of `outputs` and `inputs`. `key` is the key of a file with options."""
    file = _either(_TEXT, {**_only(**{key: _TEXT, "optional": _FORMS[Form.BOOLEAN]}), "required": [key]})
    return _either(_list(file), _mapping(file))


def pipeline_schema() -> Schema:
    """Return the schema of a pipeline file with one document."""
    root = {key: _described(row) for key, row in ROOT_ROWS.items()}
    root["params"] |= _mapping(_either(_WRITTEN, {"$ref": "#/definitions/param"}))
    root["defaults"] |= {"$ref": "#/definitions/defaults"}
    root["jobs"] |= {"type": "array", "minItems": 1}
    keys = {key: _described(row) for key, row in ROW_OF_KEY.items()}
    of_defaults = {
        "properties": {"defaults": _either(*[{"required": [key]} for key in (*_WORK, "type")])},
        "required": ["defaults"],
    }
    return {
        "$schema": DRAFT,
        "title": "Pipeline of Titan",
        "type": "object",
        "properties": root,
        "patternProperties": {f"^{IGNORED}": {}},
        "additionalProperties": False,
        "required": ["name", "jobs"],
        "if": of_defaults,
        "then": {"properties": {"jobs": {"items": {"$ref": "#/definitions/job"}}}},
        "else": {"properties": {"jobs": {"items": {"$ref": "#/definitions/whole_job"}}}},
        "definitions": {
            "param": _only(
                type={"enum": list(params.TYPES)},
                default=_WRITTEN,
                help=_TEXT,
                choices={**_list(_WRITTEN), "minItems": 1},
                required={"type": "boolean"},
            ),
            "defaults": _only(**{key: value for key, value in keys.items() if key != "id"}),
            "job": {**_only(**keys), "required": ["id"], "not": {"required": ["file", "command"]}},
            "whole_job": {"allOf": [{"$ref": "#/definitions/job"}, _uses()]},
        },
    }


def _uses() -> Schema:
    """Return the schema of the keys that only gates have, and that gates do not have."""
    refused = {use: {key: False for key, row in ROW_OF_KEY.items() if row.use is use and key != "webhook"} for use in Use}
    work = _either(*[{"required": [key]} for key in _WORK])
    return {
        "if": {"properties": {"type": {"const": Type.GATE.value}}, "required": ["type"]},
        "then": {"properties": refused[Use.WORK]},
        "else": {"properties": refused[Use.GATE], **work},
    }


def _described(row: Row) -> Schema:
    """Return the schema of a key, with its description as plain text."""
    schema: Schema = {"description": _LINK.sub(r"\1", row.doc)}
    if row.words:
        return schema | _either({"enum": list(row.words)}, _PARAMETER)
    if isinstance(row.make, Integer):
        return schema | _either({"type": "integer", "minimum": row.make.least, "maximum": row.make.most}, _PARAMETER)
    if row.form is Form.OUTPUTS or row.form is Form.INPUTS:
        return schema | _files("path" if row.form is Form.OUTPUTS else "from")
    return schema | (_FORMS[row.form] if row.form is not None else {})
