"""The routes, one module a subject; each states its own in `ROUTES`."""

from aiohttp import web

from server.routes import (
    assets,
    description,
    editor,
    events,
    health,
    history,
    info,
    internal,
    joblist,
    jobs,
    models,
    overview,
    page,
    prompt,
    shipped,
    socket,
    upload,
    userdata,
    view,
)

ROUTES: tuple[web.RouteDef, ...] = (
    *prompt.ROUTES,
    *history.ROUTES,
    *socket.ROUTES,
    *view.ROUTES,
    *upload.ROUTES,
    *models.ROUTES,
    *userdata.ROUTES,
    *internal.ROUTES,
    *info.ROUTES,
    *health.ROUTES,
    *description.ROUTES,
    *shipped.ROUTES,
    *editor.ROUTES,
    *overview.ROUTES,
    *page.ROUTES,
    *jobs.ROUTES,
    *events.ROUTES,
    *assets.ROUTES,
    *joblist.ROUTES,
)
