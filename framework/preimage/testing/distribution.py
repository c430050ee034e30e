"""Everything that one distribution provides, checked: what ``preimage check`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preimage.discovery import normalise
from preimage.errors import UnknownNameError, nearest
from preimage.testing import plugin as plugins
from preimage.testing.check import Report, report_on
from preimage.testing.component import import_together, plan_of

if TYPE_CHECKING:
    from preimage._catalogue import Catalogue

__all__ = ["check_distribution"]


def check_distribution(name: str, *, model: str | None = None, catalogue: Catalogue | None = None) -> list[Report]:
    """Check the plugins of an installed distribution and all their components.

    Arguments:
        name: of the distribution, such as ``"preimage-gcg"``.
        model: a reference that objectives are bound to and loaders are tried with, where it is theirs; without
            it objectives get a random model, and loaders the references that they declare.
        catalogue: the installed plugins without it.

    Raises:
        UnknownNameError: it is not installed, or has no plugin.
    """
    if catalogue is None:
        from preimage._catalogue import catalogue as installed

        catalogue = installed()
    found = [plugin for plugin in catalogue.plugins if plugin.distribution == normalise(name)]
    if not found:
        known = sorted({plugin.distribution for plugin in catalogue.plugins})
        message = (
            f"No plugin of a distribution {name!r} is installed.{nearest(normalise(name), known)} "
            f"{'There are ' + ', '.join(known) if known else 'There is none'}."
        )
        raise UnknownNameError(message)
    reports = []
    for plugin in found:
        import_together(provider.component for provider in plugin.providers if provider.state == "ok")
        reports.append(report_on(f"plugin {plugin.id} {plugin.version}", [(plugins.CHECKS, plugin)]))
        for provider in plugin.providers:
            theirs = provider.kind != "model" or (model or "").partition(":")[0] == provider.component.name
            world = {"model": model if theirs else None}
            reports.append(report_on(str(provider), plan_of(provider, {}, catalogue, world)))
    return reports
