"""Who is told about runs: plugins, and objects that a caller registers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from preimage.admission import inspect_implementations
from preimage.api.hooks import OBSERVERS
from preimage.errors import PluginError, UnknownNameError, nearest

if TYPE_CHECKING:
    import pluggy

__all__ = ["Observers", "Registration"]


class Registration:
    """Something that was registered by hand; as a context manager it is unregistered at the end."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo: Callable[[], None] | None = undo

    def unregister(self) -> None:
        """Take it back; a second call does nothing."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def __enter__(self) -> Registration:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unregister()


class Observers:
    """The implementations of the observer hooks, in the order of the plugins, then of local registration.

    Arguments:
        manager: knows the plugins.
        versions: of the plugins, by the names under which they are registered, in their order.
    """

    def __init__(self, manager: pluggy.PluginManager, versions: dict[str, str]) -> None:
        self._manager = manager
        self._versions = versions
        self._local: dict[str, object] = {}

    def register(self, observer: object, name: str = "") -> Registration:
        """Let a module or an object whose methods are marked with `hookimpl` observe, beside the plugins.

        Raises:
            PluginError: its functions are not as hooks must be, or it is registered already.
        """
        name = f"local:{name or getattr(observer, '__name__', type(observer).__name__)}"
        fault = inspect_implementations(self._manager, observer)
        if not fault and any(known is observer for known in self._local.values()):
            fault = "it is registered already"
        if fault:
            message = f"The observer {name.partition(':')[2]} cannot be registered: {fault}."
            raise PluginError(message)
        unique, count = name, 1
        while unique in self._local:
            count += 1
            unique = f"{name}-{count}"
        self._manager.register(observer, name=unique)
        self._local[unique] = observer
        return Registration(lambda: self.unregister(observer))

    def renew(self, manager: pluggy.PluginManager, versions: dict[str, str]) -> None:
        """Go on with the plugins of another manager; local observers stay, in their order."""
        self._manager, self._versions = manager, versions
        for name, observer in self._local.items():
            manager.register(observer, name=name)

    def unregister(self, observer: object) -> None:
        """Forget a local observer; one that is not registered is no error."""
        for name, known in list(self._local.items()):
            if known is observer:
                del self._local[name]
                self._manager.unregister(name=name)

    def observe(self, hook: str) -> Callable[[Any], None] | None:
        """Return a function that tells every implementation of `hook`, or None if there is none.

        A loop asks once before it starts, so that a hook nobody implements costs a comparison per step. An
        exception of an observer passes through with a note that names the plugin.

        Raises:
            UnknownNameError: there is no such observer hook.
        """
        if hook not in OBSERVERS:
            message = f"There is no observer hook {hook!r}.{nearest(hook, OBSERVERS)} There are {', '.join(OBSERVERS)}."
            raise UnknownNameError(message)
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        if not implementations:
            return None
        order = {name: rank for rank, name in enumerate([*self._versions, *self._local])}
        listeners = [
            (self._title(found.plugin_name), found.function, bool(inspect.signature(found.function).parameters))
            for found in sorted(implementations, key=lambda found: order.get(found.plugin_name, len(order)))
        ]

        def tell(event: Any) -> None:
            for title, function, wants_event in listeners:
                try:
                    if wants_event:
                        function(event)
                    else:
                        function()
                except Exception as error:
                    error.add_note(f"raised by {hook} of {title}")
                    raise

        return tell

    def _title(self, name: str) -> str:
        if name in self._local:
            return f"the observer {name.partition(':')[2]}"
        return f"plugin {name} {self._versions.get(name, '')}".rstrip()
