"""Bodies of the two JSON requests a browser sends."""

from typing import Annotated

from pydantic import BaseModel, StringConstraints

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Course = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]


class Visitor(BaseModel):
    """Who is chatting, as typed on the sign-in page."""

    user_name: Name
    course: Course


class Message(BaseModel):
    """One question of the visitor."""

    message: Text
