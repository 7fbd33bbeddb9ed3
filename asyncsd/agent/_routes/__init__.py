"""The endpoints, a file for each part of the API."""

from . import absent, agent, agent_checks, agent_health, agent_self, catalog, health, status, ui

__all__ = ["ROUTES"]

ROUTES = (
    *absent.ROUTES,
    *agent.ROUTES,
    *agent_checks.ROUTES,
    *agent_health.ROUTES,
    *agent_self.ROUTES,
    *catalog.ROUTES,
    *health.ROUTES,
    *status.ROUTES,
    *ui.ROUTES,
)
