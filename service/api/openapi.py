"""Additions to FastAPI's OpenAPI description: keys, the type of errors, and examples that work when pasted."""

from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from service.api.authorization import needed_right
from service.api.problems import MEDIA_TYPE
from service.engine import NoModel
from service.reload.serving import ServedModel


def describe_api(app: FastAPI, model: ServedModel) -> None:
    """Have *app* describe itself with examples from the catalogue of the served version."""
    descriptions: dict[str | None, dict[str, Any]] = {}

    def openapi() -> dict[str, Any]:
        version = None if model.manifest is None else model.manifest.version
        if version not in descriptions:
            descriptions.clear()
            descriptions[version] = _describe(app, model)
        return descriptions[version]

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it


def _describe(app: FastAPI, model: ServedModel) -> dict[str, Any]:
    description = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _add_keys(app, description)
    _name_problems(description["paths"])
    with suppress(NoModel), model.lend() as recommender:
        tracks, artists = recommender.popular("tracks", 3), recommender.popular("artists", 3)
        _add_examples(description["paths"], [track.id for track in tracks], [artist.name for artist in artists])
        _add_search_example(description["paths"], [*(track.name for track in tracks), *(each.name for each in artists)])
    return description


def _add_keys(app: FastAPI, description: dict[str, Any]) -> None:
    description["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for route in iter_route_contexts(app.routes):
        if needed_right(route) is not None:
            for operation in description["paths"].get(route.path_format, {}).values():
                operation["security"] = [{"bearer": []}, {"header": []}]


def _name_problems(paths: dict[str, Any]) -> None:
    """FastAPI gives errors the media type of the answers."""
    for methods in paths.values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if int(status) >= HTTPStatus.BAD_REQUEST:
                    response["content"] = {MEDIA_TYPE: next(iter(response["content"].values()))}


def _add_examples(paths: dict[str, Any], ids: Sequence[str], names: Sequence[str]) -> None:
    plays = [{"artist": name, "count": 100} for name in names[:2]]
    paths["/recommend"]["post"]["requestBody"]["content"]["application/json"]["examples"] = {
        "tracks": {"summary": "Continue these tracks", "value": {"tracks": ids, "k": 10}},
        "tracks and title": {"summary": "With a title", "value": {"tracks": ids[:1], "title": "Chill", "k": 10}},
        "artists": {"summary": "Begin with artists", "value": {"artists": names[:2], "k": 10}},
        "listener": {
            "summary": "More artists for a listener",
            "value": {"artists": plays, "kind": "artists", "k": 10},
        },
        "nothing": {"summary": "The most popular", "value": {}},
    }
    _parameter(paths, "/similar", "track" if ids else "artist")["example"] = ids[:1] or names[:1]


def _add_search_example(paths: dict[str, Any], names: Sequence[str]) -> None:
    _parameter(paths, "/search", "q")["example"] = next(filter(None, [*names, "love"]))


def _parameter(paths: dict[str, Any], path: str, name: str) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = paths[path]["get"]["parameters"]
    return next(parameter for parameter in parameters if parameter["name"] == name)
