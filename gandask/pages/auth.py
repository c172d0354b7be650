"""What Bokeh asks who comes, by the names that it looks for: it loads this file by its path."""

from gandask.pages import guard

login_url = guard.LOGIN
LoginHandler = guard.Login
get_user = guard.user
