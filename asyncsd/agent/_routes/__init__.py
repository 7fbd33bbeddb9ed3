"""The endpoints, a file for each part of the API."""

from . import absent, agent, catalog, health, status, ui

__all__ = ["ROUTES"]

ROUTES = (
    *absent.ROUTES,
    *agent.ROUTES,
    *catalog.ROUTES,
    *health.ROUTES,
    *status.ROUTES,
    *ui.ROUTES,
)
