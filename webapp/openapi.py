"""The OpenAPI 3.1 document, completed with what APIFlask leaves out, and the page to try it."""

from __future__ import annotations

import re
from typing import Any

from apiflask import APIBlueprint, APIFlask
from flask import current_app, render_template
from flask.typing import ResponseReturnValue
from werkzeug.routing import Rule

from webapp import sessions
from webapp.schemas import PATH_PATTERNS, ProblemDocument

bp = APIBlueprint("api_docs", __name__, enable_openapi=False)

PROBLEMS = {
    400: "The request is malformed.",
    401: "No valid sign-in.",
    403: "The sign-in does not allow this.",
    404: "There is no such thing, or it is somebody else's.",
    408: "The body came too slowly.",
    409: "The current state does not allow this.",
    413: "The body is too large.",
    415: "The body's media type is not accepted.",
    422: "Some fields are not valid.",
    429: "Too many requests.",
    500: "Something went wrong on our side.",
    503: "A part is away for the moment; try again after Retry-After.",
}
UPLOAD_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["files"],
                "properties": {
                    "files": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                },
            }
        }
    },
}


def init_app(app: APIFlask) -> None:
    """Generate the document from the routes' own models; every operation names all its problem answers."""
    app.config.update(
        INFO={"description": "Post files, watch the fleet process them, search what was in them."},
        AUTO_404_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_OPERATION_ID=True,
        AUTO_SERVERS=False,
        SECURITY_SCHEMES={
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "session": {"type": "apiKey", "in": "cookie", "name": app.config["SESSION_COOKIE_NAME"]},
        },
    )
    app.spec_processor(_complete)  # type: ignore[arg-type]
    app.register_blueprint(bp)


@bp.get("/api/docs")
def docs() -> ResponseReturnValue:
    """Swagger UI on our own copy of its files."""
    return render_template("api_docs.html", csrf=sessions.csrf_token() if sessions.signed_in() else "")


def _complete(spec: dict[str, Any]) -> dict[str, Any]:
    schemas = spec.setdefault("components", {}).setdefault("schemas", {})
    document = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}", by_alias=True)
    schemas |= document.pop("$defs", {})
    schemas["ProblemDocument"] = document
    for rule in current_app.url_map.iter_rules():
        for method, operation in spec["paths"].get(_path_of(rule), {}).items():
            if method.upper() in (rule.methods or ()):
                _complete_operation(operation, current_app.view_functions[rule.endpoint])
    return spec


def _complete_operation(operation: dict[str, Any], view: Any) -> None:
    if getattr(view, "takes_upload", False):
        operation["requestBody"] = UPLOAD_BODY
    elif "requestBody" in operation:
        operation["requestBody"]["required"] = True
    for parameter in operation["parameters"]:
        _complete_parameter(parameter)
    scopes = getattr(view, "required_scopes", [] if hasattr(view, "least_role") else None)
    if scopes is not None:
        operation["security"] = [{"bearer": list(scopes)}, {"session": list(scopes)}]
    for status in sorted(_problems_of(operation, scopes is not None) - {int(code) for code in operation["responses"]}):
        operation["responses"][str(status)] = _problem_response(status)


def _complete_parameter(parameter: dict[str, Any]) -> None:
    if parameter["in"] == "path":
        parameter["required"] = True
        parameter["schema"] = {"type": "string", "pattern": PATH_PATTERNS[parameter["name"]]}
    schema = parameter["schema"]
    if "default" in schema and schema["default"] is None:  # a parameter is left out; it is never null
        del schema["default"]
        kept = [each for each in schema.pop("anyOf", ()) if each != {"type": "null"}]
        schema |= kept[0] if len(kept) == 1 else {}


def _problems_of(operation: dict[str, Any], guarded: bool) -> set[int]:
    places = {parameter["in"] for parameter in operation["parameters"]}
    statuses = {400, 429, 500, 503}
    statuses |= {401, 403} if guarded else set()
    statuses |= {404, 409} if "path" in places else set()
    statuses |= {422} if "query" in places else set()
    return statuses | ({408, 409, 413, 415, 422} if "requestBody" in operation else set())


def _problem_response(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {"description": PROBLEMS[status], "content": {"application/problem+json": {"schema": schema}}}


def _path_of(rule: Rule) -> str:
    return re.sub(r"<(?:[^<:>]+:)?([^<>]+)>", r"{\1}", rule.rule)
