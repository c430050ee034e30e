"""The mini world: scenes, pictures, captions, a parser, and small trained models of them.

Nothing is imported here; take what is needed from ``scene``, ``render``, ``captions``, ``parser``
and ``data``.
"""
