"""Regroupings of an MGGAN."""

from gandask.pages.groups import groups

groups().servable(title="gandask: groups")
