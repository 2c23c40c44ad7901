"""What schemathesis has to be told: rules that no schema can say, what a stream's events are, and how headers look that it takes from bodies."""

import re

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

# The fields that such a rule is of, and what a problem says of them.
RULES = [
    (".*", r"must not contain the character U\+0000"),
    (".*", "without fraction or exponent"),  # to JSON Schema 5.0 is an integer
    ("q", "must contain a letter or a digit"),  # of any script
    ("cursor", "cursor"),  # comes from the page before
    ("price.currency", "must be an ISO 4217 code"),
    ("delta", "must be (positive|negative) when"),
    (r"lines\[\d+\].item_id", "is the same as in"),
    ("version", "must be given, or If-Match"),
    ("If-Match", "must be the same as the member version"),
    (".*", "the header must have the columns|is no CSV file"),
]


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """OpenAPI 3.1 has no words for the events of a stream. The tool takes the schema of one for that of each event."""
    watch = raw_schema["paths"]["/api/v1/stock/{item_id}/watch"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    watch["schema"] = {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "event": {"const": "stock"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": {"$ref": "#/components/schemas/Stock"}},
        },
    }


def breaks_a_rule(wrong):
    return any(re.fullmatch(field, wrong["field"]) and re.search(reason, wrong["reason"]) for field, reason in RULES)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drops that a valid request was refused if one of the rules is why."""
    return not (
        isinstance(failure, RejectedPositiveData)
        and response.status_code == 400
        and all(breaks_a_rule(wrong) for wrong in response.json()["errors"])
    )


@schemathesis.hook
def before_call(context, case, kwargs):
    headers = {name: str(value) for name, value in (case.headers or {}).items()}
    if case.meta is not None and case.meta.generation.mode.is_positive and headers.get("If-Match", "").isdecimal():
        headers["If-Match"] = f'"{headers["If-Match"]}"'
    case.headers = headers
