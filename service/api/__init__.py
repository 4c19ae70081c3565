"""The HTTP API: routes by resource, their errors, authorization, and the report on every request."""
