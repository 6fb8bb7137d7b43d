"""The judge of requests and answers, held against a small document."""

from __future__ import annotations

from typing import Any

from tests.emulators.document import Document, modern

THING = {
    "type": "object",
    "required": ["id", "note"],
    "properties": {"id": {"type": "integer"}, "note": {"type": "string", "nullable": True}},
}
JSON = "application/json"
SMALL: dict[str, Any] = {
    "components": {
        "schemas": {"thing": THING},
        "parameters": {"page": {"name": "page", "in": "query", "schema": {"type": "integer"}}},
    },
    "paths": {
        "/things": {
            "get": {
                "parameters": [{"$ref": "#/components/parameters/page"}],
                "responses": {"200": {"content": {JSON: {"schema": {"type": "array"}}}}},
            },
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {JSON: {"schema": {"$ref": "#/components/schemas/thing"}}},
                },
                "responses": {
                    "201": {"content": {JSON: {"schema": {"$ref": "#/components/schemas/thing"}}}},
                    "4XX": {"content": {JSON: {"schema": {"required": ["error"]}}}},
                },
            },
        },
        "/things/{id}": {"delete": {"responses": {"204": {}}}},
        "/things/all": {"delete": {"responses": {"202": {}}}},
    },
}


def document() -> Document:
    return Document({**SMALL})


def test_what_fits_is_not_complained_of() -> None:
    judge = document()
    assert judge.request("POST", "/things", {}, {"id": 1, "note": None}) == []
    assert judge.answer("POST", "/things", 201, {"id": 1, "note": "x"}) == []
    assert judge.answer("POST", "/things", 409, {"error": {}}) == []
    assert judge.request("GET", "/things", {"page": ["2"]}, None) == []
    assert judge.answer("DELETE", "/things/7", 204, None) == []


def test_what_does_not_fit_is_named() -> None:
    judge = document()
    assert "has no ?sort" in judge.request("GET", "/things", {"sort": ["x"]}, None)[0]
    assert "'x' is not of type" in judge.request("GET", "/things", {"page": ["x"]}, None)[0]
    assert "has no body" in judge.request("POST", "/things", {}, None)[0]
    assert "'id' is a required" in judge.request("POST", "/things", {}, {"note": ""})[0]
    assert "takes no body" in judge.request("DELETE", "/things/7", {}, {"id": 1})[0]
    assert "not in the document" in judge.request("PUT", "/things", {}, None)[0]
    assert "does not answer 500" in judge.answer("POST", "/things", 500, {})[0]
    assert "'error' is a required" in judge.answer("POST", "/things", 422, {})[0]
    assert "is not" in judge.answer("POST", "/things", 201, {"id": "1", "note": ""})[0]
    assert "204 has no body" in judge.answer("DELETE", "/things/7", 204, {})[0]


def test_a_literal_path_goes_first() -> None:
    assert document().answer("DELETE", "/things/all", 202, None) == []
    assert document().answer("DELETE", "/things/all", 204, None) != []


def test_words_of_openapi_become_json_schema_s() -> None:
    assert modern({"type": "number", "minimum": 1, "exclusiveMinimum": True}) == {
        "type": "number",
        "exclusiveMinimum": 1,
    }
    assert modern({"type": "string", "nullable": True}) == {
        "anyOf": [{"type": "string"}, {"type": "null"}]
    }
