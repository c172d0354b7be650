"""A card for each run of the folder."""

from gandask.pages.home import home

home().servable(title="gandask: home")
