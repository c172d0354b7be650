"""All pages in one, by the argument ``page``: what `panel serve dashboards/` opens."""

from gandask.pages import chosen

chosen().servable(title="gandask")
